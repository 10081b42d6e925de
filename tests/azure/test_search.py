"""A whole search by the command, whose builds run in Azure: to its end, killed, and interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.azure.cloud import Cloud
from tests.azure.service import COMPUTE, GROUP, SUBSCRIPTION, WORKSPACE
from tests.onnx_networks import write_network

pytestmark = pytest.mark.azure

CONFIG = f"""
model: network
passes:
  - onnx_dynamic_int8: {{per_channel: [false, true]}}
    optional: true
evaluate:
  - footprint: {{loads: 1}}
targets:
  aml:
    azureml:
      subscription_id: {SUBSCRIPTION}
      resource_group: {GROUP}
      workspace_name: {WORKSPACE}
      compute: {COMPUTE}
      image: registry/image:1
target: {{build: aml, measure: local, threads: [1]}}
objectives: {{minimize: [size_mb]}}
search: {{strategy: exhaustive, finals: 0}}
"""
LATENCY = "  - latency: {shapes: {x: [1, 512]}}\n"
_ENDS_S = 240.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "eine Suche für Azure"
    write_network(made / "network", width=512)
    (made / "config.yaml").write_text(CONFIG)
    return made


def search(cloud: Cloud, folder: Path, **variables: str) -> subprocess.Popen[str]:
    """Start the command in a folder."""
    command = [*(sys.executable, "-m", "paretune", "search", "config.yaml")]
    return subprocess.Popen(
        [*command, "--store", "store", "--study", "study"],
        cwd=folder,
        env={**os.environ, **cloud.environment, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "study" / "results.json").read_text())
    return found


def builds(cloud: Cloud) -> list[str]:
    """Return the names of the jobs that build."""
    return [
        job.name
        for job in cloud.jobs.jobs.values()
        if job.body["properties"]["displayName"].endswith(": build")
    ]


def until_builds(
    cloud: Cloud, before: int, status: str, process: subprocess.Popen[str] | None = None
) -> str:
    """Wait until a further build has a status, while a search runs; returns the build's name."""
    end = time.monotonic() + _ENDS_S
    while time.monotonic() < end:
        for name in builds(cloud)[before:]:
            if cloud.jobs.jobs[name].status == status:
                return name
        assert process is None or process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    raise AssertionError([*cloud.jobs.jobs.values()])


def test_builds_in_azure_are_measured_here(cloud: Cloud, folder: Path) -> None:
    before = len(builds(cloud))
    timed = CONFIG.replace("evaluate:\n", f"evaluate:\n{LATENCY}")
    (folder / "config.yaml").write_text(timed)
    process = search(cloud, folder)
    printed, _ = process.communicate(timeout=_ENDS_S)
    assert process.returncode == 0, printed
    found = results(folder)
    outcomes = [candidate["outcome"] for candidate in found["candidates"]]
    assert outcomes.count("ok") >= 2, printed
    assert found["best"] is not None
    assert (folder / "study" / "best").is_dir()
    assert len(builds(cloud)) - before == 2, "the baseline is the input itself"
    count = len(cloud.jobs.jobs)
    again = search(cloud, folder)
    printed, _ = again.communicate(timeout=_ENDS_S)
    assert again.returncode == 0, printed
    assert len(cloud.jobs.jobs) - count <= 1, "no build, and the compute is known"


def test_a_killed_search_goes_on_with_its_job(cloud: Cloud, folder: Path) -> None:
    before = len(builds(cloud))
    killed = search(cloud, folder)
    until_builds(cloud, before, "Running", killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    process = search(cloud, folder)
    printed, _ = process.communicate(timeout=_ENDS_S)
    assert process.returncode == 0, printed
    assert len(builds(cloud)) - before == 2, "the job of the killed search was taken over"


def test_an_interrupted_search_cancels_its_job(cloud: Cloud, folder: Path) -> None:
    before = len(builds(cloud))
    process = search(cloud, folder)
    name = until_builds(cloud, before, "Running", process)
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=_ENDS_S)
    assert process.returncode == 130, printed
    until_builds(cloud, before, "Canceled")
    assert cloud.jobs.jobs[name].status == "Canceled"


def test_expired_credentials_end_the_command_before_anything_runs(
    cloud: Cloud, folder: Path
) -> None:
    count = len(cloud.jobs.jobs)
    cloud.service.tokens.expired_secret = True
    process = search(cloud, folder)
    printed, _ = process.communicate(timeout=_ENDS_S)
    assert process.returncode == 2, printed
    assert "the credentials have expired" in printed
    assert "az login" in printed
    assert "Traceback" not in printed
    assert len(cloud.jobs.jobs) == count


def test_credentials_that_expire_later_end_no_candidate(cloud: Cloud, folder: Path) -> None:
    before = len(builds(cloud))
    process = search(cloud, folder)
    name = until_builds(cloud, before, "Running", process)
    cloud.service.tokens.revoked_before = time.time() + 1e6
    printed, _ = process.communicate(timeout=_ENDS_S)
    assert process.returncode == 2, printed
    assert "Traceback" not in printed
    cloud.service.tokens.revoked_before = 0.0
    process = search(cloud, folder)
    printed, _ = process.communicate(timeout=_ENDS_S)
    assert process.returncode == 0, printed
    assert cloud.jobs.jobs[name].status == "Completed"
    assert len(builds(cloud)) - before == 2
