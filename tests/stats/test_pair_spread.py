from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.measurement import Measurement
from paretune.stats.pair_spread import pair_width, widened

VALUES = st.lists(st.floats(0.1, 100.0), min_size=2, max_size=5)


def test_without_pairs_the_prior_counts_and_is_not_trusted_as_if_it_were_known() -> None:
    assert 0.05 < pair_width(0.05, []) < 0.1
    assert pair_width(0.1, []) == pytest.approx(2 * pair_width(0.05, []))


def test_pairs_that_agree_narrow_it_and_pairs_that_differ_widen_it() -> None:
    alike, apart = [[10.0, 10.01]] * 10, [[10.0, 13.0]] * 10
    assert pair_width(0.05, alike) < pair_width(0.05, []) < pair_width(0.05, apart)
    # Of many pairs the spread itself counts: 95 % of normal differences lie within it.
    assert pair_width(0.05, apart * 100) == pytest.approx(1.96 * math.log(1.3), rel=0.02)


@given(st.floats(0.01, 0.5), st.lists(VALUES, max_size=4), st.floats(0.01, 100))
def test_neither_the_unit_nor_the_order_counts(
    prior: float, groups: list[list[float]], unit: float
) -> None:
    width = pair_width(prior, groups)
    other = [[unit * v for v in reversed(values)] for values in reversed(groups)]
    assert pair_width(prior, other) == pytest.approx(width, rel=1e-6)
    assert pair_width(prior, [*groups, [3.0], []]) == pytest.approx(width)


@given(st.floats(0.1, 100), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 0.5))
def test_the_interval_holds_both_uncertainties(
    value: float, below: float, above: float, width: float
) -> None:
    low, high = value * math.exp(-below), value * math.exp(above)
    found = widened(Measurement("m", value, "ms", low, high), width)
    assert found.value == value
    assert found.low is not None
    assert found.high is not None
    slack = 1 + 1e-9
    assert found.low <= min(low, value * math.exp(-width)) * slack
    assert found.high * slack >= max(high, value * math.exp(width))
    assert math.log(found.high / value) <= above + width + 1e-9


def test_what_has_no_interval_gets_none() -> None:
    for m in (Measurement("m", 1.0, "ms"), Measurement("m", None, "ms", reason="too few")):
        assert widened(m, 0.1) == m
    assert widened(Measurement("m", 0.0, "ms", -1.0, 1.0), 0.1).low is None
