"""A study that builds here and measures on a host of a Ray cluster, from its configuration."""

from __future__ import annotations

import sys
from concurrent.futures import Future
from pathlib import Path

import psutil
import pytest

import paretune
from paretune.core.device_profile import DeviceProfile
from paretune.core.errors import TargetLostError, UsageError
from paretune.core.job import Call, Job, JobResult
from paretune.display.live import Quiet
from paretune.preflight.far_builds import differences
from paretune.targets.device.fingerprint import device
from paretune.targets.launchers.ray import RayTarget
from tests.onnx_networks import write_network
from tests.ray.conftest import Opens
from tests.ray.nodes import Cluster, Node

pytestmark = pytest.mark.ray
CONFIG = """
model: network
passes:
  - onnx_dynamic_int8: {{per_channel: false}}
evaluate:
  - latency: {{shapes: {{x: [8, 64]}}}}
targets:
  board: {{ray: {{address: "{address}", resources: {{one: 1}}}}, python: {python}, store: {store}}}
target: {{build: local, measure: board, threads: [1]}}
objectives: {{minimize: latency_ms_p50}}
search: {{time: 20m, strategy: exhaustive}}
"""
_WITHIN_S = 300.0


class Board(RayTarget):
    """Imports nothing beforehand; while it measures, another target asks for its host.

    Attributes:
        refused: What the other target was told.
        threads: OMP_NUM_THREADS of a job there.
    """

    cluster_address = ""
    refused: list[str]
    threads: list[str | None]

    def submit(self, job: Job) -> Future[JobResult]:
        future = super().submit(job)
        if job.kind == "measure" and not Board.refused:
            other = {"address": Board.cluster_address, "resources": {"one": 0.1}, "placed_s": 2.0}
            with RayTarget(name="other", cpus=1, **other) as target:  # type: ignore[arg-type]
                try:
                    target.info()
                except UsageError as error:
                    Board.refused.append(error.message)
            asked = super().submit(Job(Call("os:getenv", {"key": "OMP_NUM_THREADS"})))
            Board.threads.append(asked.result(_WITHIN_S).value)
        return future


class Notes(Quiet):
    """Keeps the lines for the user."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_study_measures_on_a_host_that_it_has_for_itself(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paretune.targets.launchers.ray.RayTarget", Board)
    monkeypatch.setattr(Board, "cluster_address", cluster.address)
    monkeypatch.setattr(Board, "refused", [], raising=False)
    monkeypatch.setattr(Board, "threads", [], raising=False)
    write_network(tmp_path / "network", width=64, classes=64)
    fingerprint = device("board").fingerprint  # the host is this machine, under another name
    own = DeviceProfile(fingerprint, "2020-01-02T03:04:05+00:00", 0.02, (), (), 1e-7, 0.1, {})
    own.save(tmp_path / "store")
    file = tmp_path / "net.yaml"
    there = {"address": cluster.address, "python": sys.executable, "store": tmp_path / "far"}
    file.write_text(CONFIG.format(**there))
    watcher = Notes()
    found = paretune.optimize(
        file, study=tmp_path / "study", store=tmp_path / "store", watcher=watcher
    )
    rows = found.results["candidates"]
    assert len(rows) == 2
    assert {row["outcome"] for row in rows} <= {"ok", "pruned"}
    assert rows[0]["outcome"] == "ok"
    assert all(row["metrics"]["latency_ms_p50"]["value"] > 0 for row in rows)
    assert found.results["device"]["name"] == "board"
    assert found.results["device"]["fingerprint"] == fingerprint
    assert any("the device's own figures are" in note for note in watcher.notes), watcher.notes
    assert found.best is not None
    assert "Ray did not start a worker on 127.0.0.2" in Board.refused[0], "its CPUs are reserved"
    environment = cluster.nodes["127.0.0.2"].raylet().environ()
    assert Board.threads == [environment.get("OMP_NUM_THREADS")]


class Struck(RayTarget):
    """Its host's actor is killed while the first job of each kind runs.

    Attributes:
        nodes: The cluster's.
        struck: Which kinds of jobs met that.
    """

    nodes: dict[str, Node]
    struck: list[str]

    def submit(self, job: Job) -> Future[JobResult]:
        future = super().submit(job)
        if job.kind not in Struck.struck:
            Struck.struck.append(job.kind)
            actor_of(Struck.nodes).kill()
        return future


def actor_of(nodes: dict[str, Node]) -> psutil.Process:
    """Return the actor on the host that measures."""
    actor = nodes["127.0.0.2"].agents()[0].parent()
    assert actor is not None
    assert "HostWorker" in " ".join(actor.cmdline())
    return actor


def test_checks_smoke_tests_and_measurements_of_a_killed_worker_run_again(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paretune.targets.launchers.ray.RayTarget", Struck)
    monkeypatch.setattr(Struck, "nodes", cluster.nodes, raising=False)
    monkeypatch.setattr(Struck, "struck", [], raising=False)
    write_network(tmp_path / "network", width=64, classes=64)
    file = tmp_path / "net.yaml"
    there = {"address": cluster.address, "python": sys.executable, "store": tmp_path / "far"}
    file.write_text(CONFIG.format(**there))
    found = paretune.optimize(file, study=tmp_path / "study", store=tmp_path / "store")
    assert Struck.struck == ["call", "smoke", "measure"]
    assert {row["outcome"] for row in found.results["candidates"]} <= {"ok", "pruned"}
    steps = [step["step"] for row in found.results["candidates"] for step in row["seconds"]]
    assert sorted(step for step in steps if step.endswith(":crashed")) == [
        "measure:crashed",
        "smoke:crashed",
    ]


def test_a_host_that_dies_within_the_check_of_passes_is_no_matter_of_versions(
    cluster: Cluster, opened: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paretune.search.lost_targets.RETRY_WAITS_S", (0.0, 0.0))
    with opened(resources={"one": 1}, placed_s=5.0) as far:
        [host] = far.members
        assert differences(host, ["noop"]) == []
        cluster.nodes["127.0.0.2"].kill()
        try:
            with pytest.raises(TargetLostError) as caught:
                differences(host, ["noop"])
        finally:
            cluster.start("127.0.0.2", resources={"one": 1})
    assert "cluster/127.0.0.2" in caught.value.message
    assert "versions" not in (caught.value.hint or "")


def test_a_shared_folder_that_is_not_there_is_refused_before_ray_is_started(
    cluster: Cluster, tmp_path: Path
) -> None:
    away = str(tmp_path / "away")
    with RayTarget(name="cluster", address=cluster.address, shared=away) as target:
        with pytest.raises(UsageError, match=r"there is no folder .* on this machine") as caught:
            target.info()
        assert target.cluster._channel is None
    assert "the target 'cluster' cannot be used" in caught.value.message
    assert "`shared:`" in (caught.value.hint or "")
