"""Differences of the benchmark are paired by phrase, over the seeds that both have."""

from __future__ import annotations

import pytest
from quantization_aware import _difference


def test_a_difference_is_the_mean_over_seeds_with_an_interval_over_phrases() -> None:
    one = {0: (1.0, 1.0, 0.0, 1.0) * 50, 1: (1.0, 0.0, 1.0, 1.0) * 50, 2: (0.0,) * 200}
    other = {0: (1.0, 0.0, 0.0, 1.0) * 50, 1: (0.0, 0.0, 1.0, 1.0) * 50}
    mean, low, high, by_seed = _difference(one, other)
    assert by_seed == [0.25, 0.25]
    assert mean == pytest.approx(0.25)
    assert 0.2 < low < 0.25 < high < 0.3
