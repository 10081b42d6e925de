"""A run of a network is timed; what it is given follows the network and the parameters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from paretune.core.errors import InvalidArtifactError, UsageError
from paretune.core.measurement import Measurement, Rung
from paretune.data.arrays import ArrayRow
from paretune.evaluators.arrays.latency import LatencyParams
from paretune.evaluators.arrays.requests import Inputs, made_up, of_rows
from paretune.evaluators.base import Budget
from paretune.models.handle import open_model
from tests.evaluators.arrays.conftest import OnRows
from tests.onnx_networks import write_network

Measure = Callable[..., dict[str, Measurement]]
NO_ANSWERS = {"target": None}
SHORT = Budget(seconds=0.05)


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


def test_rows_of_data_in_batches(on_rows: OnRows, tmp_path: Path) -> None:
    network = write_network(tmp_path / "network")
    x = np.random.default_rng(0).normal(size=(10, 8)).astype(np.float32)
    seen = on_rows("latency", network, {"x": x}, spec=NO_ANSWERS, budget=SHORT, batch_size=4)
    assert set(seen) == {"latency_ms_p50", "latency_ms_p95", "throughput_per_s"}
    p50, rate = seen["latency_ms_p50"], seen["throughput_per_s"]
    assert p50.details["shapes"] == {"x": [4, 8]}
    assert p50.details["requests"] == 3  # the last one begins anew
    assert rate.value == pytest.approx(4e3 * p50.n / sum(p50.samples))
    assert rate.low is not None
    assert rate.low <= rate.value <= (rate.high or 0)


def test_requests_at_the_same_time(on_rows: OnRows, tmp_path: Path) -> None:
    network = write_network(tmp_path / "network")
    arrays = {"x": np.ones((4, 8), np.float32)}
    seen = on_rows("latency", network, arrays, spec=NO_ANSWERS, budget=SHORT, concurrency=2)
    p50, rate = seen["latency_ms_p50"], seen["throughput_per_s"]
    assert p50.details["concurrency"] == 2
    assert rate.n == p50.n
    assert rate.value is not None
    assert rate.value > 0
    assert "a sum over streams" in str(rate.reason)


def test_requests_are_rows_of_equal_shapes(tmp_path: Path) -> None:
    lengths = [2, 3, 2, 2]
    rows = [
        ArrayRow({"x": np.full(n, at, np.float32), "k": np.int64(5)}, None, at, "", "")
        for at, n in enumerate(lengths)
    ]
    inputs: Inputs = {"x": ("float32", (None, None)), "k": ("int64", ())}
    found = of_rows(rows, inputs, "d", 2)
    assert [request["x"][:, 0].tolist() for request in found] == [[0, 2], [1, 1], [3, 0]]
    assert all(request["k"] == 5 and request["k"].ndim == 0 for request in found)
    whole: Inputs = {"x": ("float32", (4, None)), "k": ("int64", ())}
    with pytest.raises(UsageError, match=r"takes 4 at once in 'x', not 2"):
        of_rows(rows, whole, "d", 2)
    with pytest.raises(UsageError, match=r"takes 4 at once in 'x', not 3"):
        made_up(whole, {}, 0, 3)
    assert made_up(inputs, {}, 0, 3)["x"].shape == (3, 1)
    with pytest.raises(ValidationError, match="give `data` or `shapes`"):
        LatencyParams(data="d", shapes={"x": [1]})
