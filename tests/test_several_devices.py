"""A real study on this machine and on one core of it, behind another interpreter."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from fake_devices import HERE

from paretune import optimize
from paretune.core.jsontools import read_json
from tests.core.test_machines import overlapping
from tests.onnx_networks import write_network

TESTS = Path(__file__).resolve().parent
KILL = """
import os, signal, sys
from pathlib import Path
from paretune import optimize
from paretune.study.folder import Study
record = Study.record
ended = []
def cut(self, outcome):
    record(self, outcome)
    ended.append(self.folder.name)
    if len(set(ended)) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
Study.record = cut
folder = Path(sys.argv[1])
optimize(folder / "net.yaml", study=folder / "study", store=folder / "store")
"""


def write_study(folder: Path) -> None:
    """Write a study of a small network, on this machine and on one of its cores."""
    write_network(folder / "network", width=64, classes=64)
    one_core = folder / "one-core"
    one_core.write_text(f'#!/bin/sh\nexec taskset -c 0 {sys.executable} "$@"\n')
    one_core.chmod(0o755)
    config = {
        "model": "network",
        "passes": [{"onnx_dynamic_int8": {"per_channel": [False, True]}, "optional": True}],
        "evaluate": [{"latency": {"shapes": {"x": [8, 64]}}}, "footprint"],
        "targets": {"one-core": {"python": "one-core"}},
        "target": [HERE, {"name": "one-core", "threads": [1]}],
        "objectives": {"minimize": ["latency_ms_p50", "size_mb"]},
        "search": {"strategy": "exhaustive", "time": "20m"},
    }
    (folder / "net.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(shutil.which("taskset") is None, reason="there is no taskset")
def test_a_killed_study_of_two_real_devices_goes_on(tmp_path: Path) -> None:
    write_study(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-c", KILL, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    study = tmp_path / "study"
    before = {
        file: read_json(file)
        for file in (
            *study.glob("candidates/*/outcome.json"),
            *study.rglob("one-core/**/outcome.json"),
        )
    }
    assert len(before) >= 2
    result = optimize(tmp_path / "net.yaml", study=study, store=tmp_path / "store")
    for file, was in before.items():
        assert read_json(file)["seconds"][: len(was["seconds"])] == was["seconds"]
    devices = result.results["devices"]
    assert list(devices) == ["local", "one-core"]
    assert devices["one-core"]["device"]["cores"] == 1
    for name, found in devices.items():
        assert found["status"] == "finished"
        measured = [m["latency_ms_p50"]["value"] for m in found["metrics"].values()]
        assert len(measured) == 3
        assert all(value > 0 for value in measured)
        package = result.devices[name]
        assert package is not None
        assert (package / "model_card.md").is_file()
    assert devices["local"]["metrics"] != devices["one-core"]["metrics"]
    assert [pick["of"] for pick in result.results["picks"]] == ["local", "one-core"]
    ran = [json.loads(line) for line in (study / "leases.jsonl").read_text().splitlines()]
    assert {line["who"] for line in ran if line["kind"] == "measure"} == {"local", "one-core"}
    assert not overlapping(ran), "the two share one measuring slot"
    assert "The devices compared" in (study / "report.html").read_text()
