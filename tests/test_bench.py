from __future__ import annotations

import json
import struct
import time
from pathlib import Path

import pytest

from paretune import bench
from paretune.errors import ParetuneError, UsageError
from paretune.targets.base import Job, TargetInfo
from paretune.targets.local import LocalTarget


@pytest.mark.slow
def test_the_devices_figures() -> None:
    start = time.monotonic()
    measured = bench.bench_device()
    assert time.monotonic() - start < 60  # below 20 s where nothing else runs
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured
    for figure in measured["figures"]:
        assert 0 < figure["low"] <= figure["value"] <= figure["high"]
        assert figure["n"] >= 2
        assert figure["unit"]
    by_name = {figure["name"]: figure for figure in measured["figures"]}
    assert by_name["job start and end"]["value"] < by_name["new process, all imports"]["value"]
    assert by_name["memory read bandwidth"]["value"] < 2000
    assert measured["device"]["fingerprint"].startswith("sha256:")
    assert measured["providers"]["cpu"] is None
    text = bench.render(measured)
    assert "memory read bandwidth" in text
    assert "provider cpu" in text


def test_the_kernels_run_in_a_worker() -> None:
    with LocalTarget(preload=False) as target:
        for function, arguments in {
            "bandwidth": {"array_bytes": 1 << 20},
            "matrix_fp32": {"side": 32},
            "matrix_int8": {"side": 32},
        }.items():
            call = {"function": f"paretune.bench:{function}", "args": {"threads": [1], **arguments}}
            result = target.submit(Job("call", call)).result(120)
            assert result.status == "ok", result.reason
            (figure,) = result.value
            assert figure["threads"] == 1
            assert figure["value"] > 0


@pytest.mark.parametrize(
    ("cores", "logical", "counts"),
    [(1, 1, [1]), (2, 2, [1, 2]), (6, 12, [1, 2, 4, 6, 8, 12]), (3, 3, [1, 2, 3])],
)
def test_thread_counts(cores: int, logical: int, counts: list[int]) -> None:
    assert bench.thread_counts(TargetInfo("x", cores=cores, logical_cores=logical)) == counts


def test_a_figure_is_a_median_with_quartiles() -> None:
    figure = bench._figure("x", "ms", [5.0, 1.0, 3.0, 2.0, 4.0], 2)
    assert (figure["low"], figure["value"], figure["high"], figure["n"]) == (2.0, 3.0, 4.0, 5)


def test_a_failing_job_is_an_error() -> None:
    with (
        LocalTarget(preload=False) as target,
        pytest.raises(ParetuneError, match=r"job_functions:fail: failed: ValueError: no"),
    ):
        bench._value(
            target, Job("call", {"function": "job_functions:fail", "args": {"message": "no"}})
        )


def test_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        bench.bench_model(tmp_path / "nowhere")


def test_an_adapter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    with pytest.raises(UsageError, match="is an adapter"):
        bench.bench_model(tmp_path)


def test_a_model_is_rendered_with_and_without_values() -> None:
    measured = {
        "device": TargetInfo("local", processor="P").to_json(),
        "model": {"path": "m"},
        "runtime": {"provider": "cpu", "threads": 2},
        "measurements": [
            {"metric": "a", "value": 1.5, "unit": "ms", "low": 1.0, "high": 2.0, "n": 9,
             "reason": None},
            {"metric": "b", "value": None, "unit": "ms", "low": None, "high": None, "n": 0,
             "reason": "too few"},
        ],
    }  # fmt: skip
    text = bench.render(measured)
    assert "1.5 ms  [1, 2], n=9" in text
    assert "no value  (too few)" in text
