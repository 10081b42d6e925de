"""A forecast is checked where it is made, and is the same after it was written and read."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.jsontools import canonical, parse_json
from paretune.core.trial_forecast import MetricForecast, TrialForecast, read_forecast

NUMBERS = st.floats(-1e12, 1e12)
METRICS = st.builds(
    lambda ends: MetricForecast(sorted(ends)[1], min(ends), max(ends)),
    st.lists(NUMBERS, min_size=3, max_size=3),
) | st.builds(MetricForecast, NUMBERS)
SHARES = st.none() | st.floats(0, 1)


@given(
    st.builds(
        TrialForecast,
        st.dictionaries(st.sampled_from(["accuracy", "size_mb"]), METRICS),
        SHARES,
        SHARES,
        st.none() | st.floats(0, 1e9),
        st.none() | st.floats(0, 1e9),
    )
)
def test_it_is_read_as_it_was_written(forecast: TrialForecast) -> None:
    text = canonical(forecast.to_json())
    again = read_forecast(parse_json(text))
    assert again is not None
    assert canonical(again.to_json()) == text
    assert again.metrics.keys() == forecast.metrics.keys()
    for name, metric in forecast.metrics.items():
        assert again.metrics[name].value == pytest.approx(metric.value, rel=1e-5)


def test_without_one_nothing_is_read() -> None:
    assert read_forecast(None) is None


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (math.nan, None, None),
        (1.0, None, 2.0),
        (1.0, 0.0, math.inf),
        (3.0, 1.0, 2.0),
        (0.0, 1.0, 2.0),
    ],
)
def test_a_metric_is_a_finite_number_in_its_interval(
    value: float, low: float | None, high: float | None
) -> None:
    with pytest.raises(ValueError, match=r"interval|finite"):
        MetricForecast(value, low, high)


@pytest.mark.parametrize(
    "given", [{"success": 1.1}, {"feasible": -0.1}, {"seconds": math.nan}, {"gain": -1.0}]
)
def test_chances_and_seconds_are_checked(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(given))} of a forecast"):
        TrialForecast(**given)
