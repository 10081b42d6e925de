"""A run of a network is timed; what it is given follows the network and the parameters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from paretune.core.errors import InvalidArtifactError
from paretune.core.measurement import Measurement, Rung
from paretune.evaluators.base import Budget
from paretune.models.handle import open_model
from tests.onnx_networks import write_network

Measure = Callable[..., dict[str, Measurement]]


def test_a_run_is_timed_in_milliseconds(measure: Measure, tmp_path: Path) -> None:
    network = open_model(write_network(tmp_path / "network"))
    seen = measure("latency", {"shapes": {"x": [16, 8]}}, network, Rung.FULL)
    assert set(seen) == {"latency_ms_p50", "latency_ms_p95"}
    p50, p95 = seen["latency_ms_p50"], seen["latency_ms_p95"]
    assert p50.value is not None
    assert p95.value is not None
    assert 0 < p50.value <= p95.value
    assert p50.n == len(p50.samples) > 100
    assert p50.details["shapes"] == {"x": [16, 8]}


def test_a_size_that_the_network_leaves_open_is_one(measure: Measure, tmp_path: Path) -> None:
    network = open_model(write_network(tmp_path / "network"))
    seen = measure("latency", {}, network, Rung.ROUGH, budget=Budget(seconds=0.05))
    assert seen["latency_ms_p50"].details["shapes"] == {"x": [1, 8]}


@pytest.mark.parametrize(
    ("shapes", "why"),
    [({"z": [1]}, "no input 'z'"), ({"x": [1, 9]}, "does not run")],
)
def test_arrays_that_do_not_fit_are_refused(
    measure: Measure, tmp_path: Path, shapes: dict[str, list[int]], why: str
) -> None:
    network = open_model(write_network(tmp_path / "network"))
    with pytest.raises(InvalidArtifactError, match=why):
        measure("latency", {"shapes": shapes}, network, Rung.ROUGH)
