"""The figure of a comparison of outputs, and its bounds."""

from __future__ import annotations

import json
import math

import pytest

from paretune.core.fidelity import OUTPUT_ERROR, Fidelity, Verdict, measurements, verdict_from
from paretune.core.output_error import OutputError


@pytest.mark.parametrize(
    ("fidelity", "most"), [(Fidelity.FP32, 1e-3), (Fidelity.FP16, 0.05), (Fidelity.QUANTIZED, 1.0)]
)
def test_a_build_is_held_to_what_it_says_that_it_is(fidelity: Fidelity, most: float) -> None:
    assert not OutputError({"y": 0.0, "z": 0.99 * most}, 1).outside(fidelity)
    assert OutputError({"y": 0.0, "z": most}, 1).outside(fidelity)
    for broken in (math.nan, math.inf):
        assert OutputError({"y": broken, "z": 0.0}, 1).outside(fidelity)


def test_the_largest_error_is_the_metric() -> None:
    found = OutputError({"y": 0.1, "z": 0.3}, 4)
    kept = Verdict(found.to_json(), of_arrays=True)
    assert verdict_from({"fidelity": json.loads(json.dumps(kept.to_json()))}) == kept
    (metric,) = measurements(kept).values()
    assert (metric.metric, metric.value, metric.n) == (OUTPUT_ERROR, 0.3, 4)
    assert "output_error 0.3 at the output 'z'" in found.shown()


def test_what_json_cannot_hold_is_none() -> None:
    said = OutputError({"y": math.inf, "z": 0.1}, 1).to_json()
    assert said == {"output_error": None, "outputs": {"y": None, "z": 0.1}, "runs": 1}
    assert json.loads(json.dumps(said, allow_nan=False)) == said
