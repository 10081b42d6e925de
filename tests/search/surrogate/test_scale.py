"""In which scale a metric is forecast."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.search.surrogate.scale import Scale

POSITIVE = st.floats(1e-6, 1e9)


@given(st.lists(POSITIVE, min_size=3, max_size=3), POSITIVE, POSITIVE)
def test_a_scale_keeps_the_order_and_can_be_undone(first: list[float], a: float, b: float) -> None:
    scale = Scale.of(first, "ms")
    assert scale.offset == sorted(first)[1]
    assert (scale.of_value(a) <= scale.of_value(b)) == (a <= b)
    # What is far below the offset is known as exactly as the offset.
    assert scale.value(scale.of_value(a)) == pytest.approx(a, abs=1e-12 * (a + scale.offset))


@given(POSITIVE, POSITIVE)
def test_all_values_at_once_are_those_one_by_one(offset: float, value: float) -> None:
    for scale in (Scale(), Scale(offset)):
        scaled = scale.of_value(value)
        assert scale.values(np.array([scaled]))[0] == pytest.approx(
            scale.value(scaled), abs=1e-12 * offset
        )


def test_a_deviation_is_scaled_as_its_value() -> None:
    scale = Scale(10.0)
    near = (scale.of_value(5.001) - scale.of_value(4.999)) / 0.002
    assert scale.of_deviation(5.0, 1.0) == pytest.approx(near, rel=1e-4)
    assert Scale().of_deviation(5.0, 1.0) == 1.0


def test_shares_and_values_that_may_be_negative_are_forecast_as_they_are() -> None:
    assert Scale.of([0.2, 0.5, 0.9], "fraction") == Scale(share=True)
    assert Scale.of([1.0, 0.0, 3.0], "points") == Scale()


def test_no_share_is_forecast_beyond_0_and_1() -> None:
    scale = Scale.of([0.2, 0.9, 1.0], "fraction")
    assert [scale.value(v) for v in (-0.1, 0.5, 1.2)] == [0.0, 0.5, 1.0]
    assert scale.values(np.array([-0.1, 0.5, 1.2])).tolist() == [0.0, 0.5, 1.0]
    wider = Scale.of([0.2, 0.9, 1.5], "fraction")
    assert wider.value(1.2) == 1.2


def test_a_limit_below_the_scale_is_met_by_nothing() -> None:
    assert Scale(2.0).of_value(-2.0) == -math.inf


def test_no_forecast_of_a_time_is_negative() -> None:
    assert Scale(10.0).value(math.log(5.0)) == 0.0
    assert Scale(10.0).values(np.array([math.log(5.0)]))[0] == 0.0


def test_values_that_cannot_be_squared_count_as_large_ones() -> None:
    for scale in (Scale(), Scale(10.0)):
        most = scale.of_value(1.7e308)
        assert math.isfinite(most * most)
        assert np.all(np.isfinite(scale.values(np.array([most, 1e9, -1e9])) ** 3))
        assert math.isfinite(scale.of_deviation(1.7e308, 1.7e308))
    assert Scale().of_value(-1.7e308) == -Scale().of_value(1.7e308)
    with pytest.raises(OverflowError):
        Scale(10.0).value(1e9)


def test_a_log_scale_does_not_take_what_has_no_logarithm() -> None:
    assert all(Scale().takes(value) for value in (-1.0, 0.0, 1.0))
    assert [Scale(2.0).takes(value) for value in (-1.0, 0.0, 1.0)] == [False, True, True]
    assert [Scale(0.0).takes(value) for value in (-1.0, 0.0, 1.0)] == [False, False, True]
