"""What is expected of the candidate that is started, in the units that a reader knows."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.trial_forecast import TrialForecast
from paretune.search.constraints import Limit
from paretune.search.surrogate.scale import Scale
from paretune.search.surrogate.told import Told

SCALES = {"accuracy": Scale(share=True), "size_mb": Scale(0.0)}


def told(
    accuracy: tuple[float, float] = (0.8, 0.02),
    size: tuple[float, float] = (math.log(100.0), 0.1),
    limits: tuple[Limit, ...] = (),
    *,
    success: float = 0.9,
    noise: Mapping[str, float] | None = None,
    gain: float | None = 0.1,
) -> TrialForecast:
    """Return the forecast of the second of two candidates."""
    maker = Told("success")
    for name, variance in (noise or {"accuracy": 0.0, "size_mb": 0.0}).items():
        maker.note(name, variance)
    found = {
        name: (np.array([0.0, mean]), np.array([9.0, deviation]))
        for name, (mean, deviation) in {
            "accuracy": accuracy,
            "size_mb": size,
            "success": (success, 0.1),
            "seconds of lora": (3.0, 1.0),
        }.items()
    }
    return maker.forecast(found, 1, SCALES, limits, 12.0, gain)


def limit(text: str) -> Limit:
    metric, op, value = text.split()
    return Limit(metric, op, float(value), text)  # type: ignore[arg-type]


def test_logarithms_are_told_as_values() -> None:
    found = told()
    assert set(found.metrics) == {"accuracy", "size_mb"}
    size = found.metrics["size_mb"]
    assert size.value == pytest.approx(100.0)
    assert size.low == pytest.approx(100.0 * math.exp(-0.196))
    assert size.high == pytest.approx(100.0 * math.exp(0.196))
    assert (found.success, found.feasible) == (0.9, 0.9)
    assert (found.seconds, found.gain) == (12.0, 0.1)


def test_an_interval_is_that_of_a_measurement() -> None:
    found = told(noise={"accuracy": 0.03**2, "size_mb": 0.0}).metrics["accuracy"]
    assert found.high is not None
    assert found.high - found.value == pytest.approx(1.96 * math.hypot(0.02, 0.03))


def test_a_share_stays_within_0_and_1() -> None:
    assert told((1.2, 0.1)).metrics["accuracy"].to_json() == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_what_cannot_be_written_is_left_out() -> None:
    found = told(size=(900.0, 1.0), success=1.7)
    assert set(found.metrics) == {"accuracy"}
    assert found.success == 1.0


def test_the_chance_to_meet_a_limit() -> None:
    assert told(limits=(limit("size_mb <= 100"),)).feasible == pytest.approx(0.45)
    assert told(limits=(limit("accuracy >= 0.7608"),)).feasible == pytest.approx(0.9 * 0.975, 1e-3)
    both = told(limits=(limit("size_mb <= 100"), limit("accuracy >= 0.8")))
    assert both.feasible == pytest.approx(0.225)
    between = told(limits=(limit("accuracy >= 0.78"), limit("accuracy <= 0.82")))
    assert between.feasible == pytest.approx(0.9 * 0.6827, 1e-3)
    assert told(limits=(limit("size_mb >= -1"),)).feasible == 0.9
    assert told(limits=(limit("size_mb <= -1"),)).feasible == 0.0
    assert told(limits=(limit("ttft_ms_p50 <= 10"),)).feasible is None


def test_of_an_exact_value_it_is_known() -> None:
    assert told((0.8, 0.0), limits=(limit("accuracy >= 0.8"),)).feasible == 0.9
    assert told((0.8, 0.0), limits=(limit("accuracy >= 0.81"),)).feasible == 0.0


@given(
    st.tuples(st.floats(-5, 5), st.floats(0, 5)),
    st.tuples(st.floats(-800, 800), st.floats(0, 500)),
    st.floats(-1, 2),
    st.lists(
        st.builds(
            lambda metric, op, value: limit(f"{metric} {op} {value}"),
            st.sampled_from(list(SCALES)),
            st.sampled_from(["<=", ">="]),
            st.floats(-10, 10),
        ),
        max_size=3,
    ),
)
def test_whatever_the_models_say_it_can_be_told(
    accuracy: tuple[float, float], size: tuple[float, float], success: float, limits: list[Limit]
) -> None:
    found = told(accuracy, size, tuple(limits), success=success)
    assert found.feasible is not None
    assert found.success is not None
    assert 0 <= found.feasible <= found.success
