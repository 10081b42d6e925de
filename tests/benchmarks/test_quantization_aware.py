"""Differences of the benchmark are paired by phrase, over the seeds that both have."""

from __future__ import annotations

import pytest
from quantization_aware import BUILDS, arm_of, difference, recipe_of

from paretune.core.candidate import Step


def test_a_difference_is_the_mean_over_seeds_with_an_interval_over_phrases() -> None:
    one = {0: (1.0, 1.0, 0.0, 1.0) * 50, 1: (1.0, 0.0, 1.0, 1.0) * 50, 2: (0.0,) * 200}
    other = {0: (1.0, 0.0, 0.0, 1.0) * 50, 1: (0.0, 0.0, 1.0, 1.0) * 50}
    mean, low, high, by_seed = difference(one, other)
    assert by_seed == [0.25, 0.25]
    assert mean == pytest.approx(0.25)
    assert 0.2 < low < 0.25 < high < 0.3


@pytest.mark.parametrize("arm", BUILDS)
def test_an_outcome_is_counted_for_the_training_that_its_recipe_has(arm: str) -> None:
    chain = [{each: {}} if isinstance(each, str) else each for each in recipe_of(arm, {}, "int4")]
    assert arm_of([Step(*next(iter(each.items()))) for each in chain]) == arm
