"""Models built here are measured by another environment, with another release of onnxruntime."""

from __future__ import annotations

import importlib.metadata
import json
import os
from pathlib import Path

import pytest

import paretune
from paretune.core.job import Call, Job
from paretune.targets.launchers.python import PythonTarget
from paretune.targets.launchers.wheel import build_wheel
from tests.environments import install, make_environment
from tests.onnx_networks import write_network

OTHER = "1.31.0"
CONFIG = """
model: network
passes:
  - onnx_dynamic_int8: {per_channel: [false, true]}
    optional: true
evaluate:
  - latency: {shapes: {x: [32, 512]}}
  - footprint
target: {build: local, measure: other, threads: [1]}
targets:
  other: {python: venv/bin/python}
objectives: {minimize: [size_mb, latency_ms_p50]}
search: {time: 5m, finals: 10s}
"""


@pytest.mark.slow
def test_another_environment_measures_and_the_study_has_its_facts(tmp_path: Path) -> None:
    pytest.importorskip("pip")
    assert importlib.metadata.version("onnxruntime") != OTHER
    python = make_environment(tmp_path / "venv")
    done = install(python, build_wheel(tmp_path / "wheel"))
    assert done.returncode == 0, done.stderr
    done = install(python, f"onnxruntime=={OTHER}")
    if done.returncode != 0 and os.environ.get("CI") != "true":
        pytest.skip(f"onnxruntime {OTHER} cannot be had: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    with PythonTarget(python=str(python)) as target:
        job = Job(Call("importlib.metadata:version", {"distribution_name": "onnxruntime"}))
        assert target.submit(job).result(300).value == OTHER
    write_network(tmp_path / "network", width=512, classes=64)
    (tmp_path / "net.yaml").write_text(CONFIG)
    found = paretune.optimize(
        tmp_path / "net.yaml", study=tmp_path / "study", store=tmp_path / "store"
    )
    results = found.results
    # A candidate that is slower on this machine may be pruned.
    assert len(results["candidates"]) == 3
    assert {row["outcome"] for row in results["candidates"]} <= {"ok", "pruned"}
    assert results["device"]["packages"]["onnxruntime"] == OTHER
    assert results["device"]["name"] == "other"
    assert results["versions"]["onnxruntime"] == OTHER
    assert list(results["devices"]) == ["other"]
    device = json.loads((tmp_path / "study" / "device.json").read_text())
    assert device["packages"]["onnxruntime"] == OTHER
    identity = (tmp_path / "study" / "identity.json").read_text()
    assert device["fingerprint"] in identity
    for row in results["candidates"]:
        assert row["metrics"]["latency_ms_p50"]["value"] > 0
