"""OpenVINO beside ONNX Runtime: in one study, and compared by one command.

The packages exclude each other, so that OpenVINO's lives in an environment of its own.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import paretune
from paretune.targets.launchers.python import PythonTarget
from paretune.targets.launchers.wheel import build_wheel
from tests.environments import install, make_environment
from tests.onnx_networks import write_network

PACKAGE = "onnxruntime-openvino==1.24.1"
CONFIG = """
model: network/model.onnx
evaluate:
  - latency: {shapes: {x: [32, 512]}}
targets:
  ov: {python: venv/bin/python}
target:
  - {name: local, does: both, threads: [1]}
  - {name: ov, does: measure, providers: [openvino], threads: [1]}
objectives: {minimize: latency_ms_p50}
search: {time: 5m, finals: 0}
"""


@pytest.mark.slow
def test_openvino_is_measured_in_the_same_study_and_compared(tmp_path: Path) -> None:
    pytest.importorskip("pip")
    python = make_environment(tmp_path / "venv")
    done = install(python, build_wheel(tmp_path / "wheel"))
    assert done.returncode == 0, done.stderr
    done = install(python, PACKAGE)
    if done.returncode != 0 and os.environ.get("CI") != "true":
        pytest.skip(f"{PACKAGE} cannot be had: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    write_network(tmp_path / "network", width=512, classes=64)
    (tmp_path / "net.yaml").write_text(CONFIG)
    found = paretune.optimize(
        tmp_path / "net.yaml", study=tmp_path / "study", store=tmp_path / "store"
    )
    devices = found.results["devices"]
    assert list(devices) == ["local", "ov"]
    for device in devices.values():
        (measured,) = device["metrics"].values()
        assert measured["latency_ms_p50"]["value"] > 0
    assert "openvino" in devices["ov"]["device"]["providers"]
    with PythonTarget(python=str(python)) as target:
        compared = paretune.compare(
            [tmp_path / "network"],
            providers=["cpu", "openvino"],
            shapes={"x": [32, 512]},
            threads=1,
            rounds=1,
            target=target,
        )
    assert [row["runtime"]["provider"] for row in compared["entrants"]] == ["cpu", "openvino"]
    (pair,) = compared["pairs"]
    assert pair["ratio"] > 0
