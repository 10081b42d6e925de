"""A search over ssh whose connection is lost: it goes on by itself, or ends and can be resumed."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psutil
import pytest

import paretune
from paretune.core.errors import TargetLostError
from paretune.core.job import Job, JobResult, Measure
from paretune.search.run import SearchRun
from paretune.targets.launchers.ssh import SshTarget
from tests.onnx_networks import write_network
from tests.targets.sshd import Sshd, start

CONFIG = """
model: network
passes:
  - onnx_dynamic_int8: {{per_channel: false}}
    optional: true
evaluate:
  - latency: {{shapes: {{x: [8, 64]}}}}
targets: {{board: {{ssh: board, python: {python}, store: {store}}}}}
target: {{build: local, measure: board, threads: [1]}}
objectives: {{minimize: latency_ms_p50}}
search: {{time: 20m, finals: 0}}
"""
_AGENT = "paretune.targets.agent"
_WITHIN_S = 300.0
Searching = Callable[..., paretune.SearchResult]


class Board(SshTarget):
    """Imports nothing beforehand, and calls `during` once while the second model is measured."""

    during: Callable[[], None] | None = None
    models: set[str]
    latest: Board

    def __init__(
        self, store_root: Path | None = None, allow_network: bool = False, **options: Any
    ) -> None:
        super().__init__(store_root, allow_network, **options)

    def submit(self, job: Job) -> Future[JobResult]:
        future = super().submit(job)
        if isinstance(job.task, Measure):
            Board.latest = self
            Board.models.add(job.task.model.digest)
            if len(Board.models) == 2 and Board.during is not None:
                during, Board.during = Board.during, None
                during()
        return future


@pytest.fixture
def searching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Searching:
    """Builds here, measures on the board."""
    monkeypatch.setattr("paretune.targets.launchers.ssh.SshTarget", Board)
    monkeypatch.setattr("paretune.search.trial.PROCESS_S", 0.05)
    monkeypatch.setattr(SearchRun, "pause", lambda self, seconds: None)
    write_network(tmp_path / "network", width=64, classes=64)

    def search(during: Callable[[], None] | None = None) -> paretune.SearchResult:
        monkeypatch.setattr(Board, "during", during and staticmethod(during))
        monkeypatch.setattr(Board, "models", set(), raising=False)
        file = tmp_path / "net.yaml"
        store = tmp_path / "far"
        file.write_text(CONFIG.format(python=sys.executable, store=store))
        return paretune.optimize(file, study=tmp_path / "study", store=tmp_path / "store")

    return search


def agent_with_a_job(sshd: Sshd) -> psutil.Process:
    """Wait until the agent's fork server runs a job; returns the agent."""
    end = time.monotonic() + _WITHIN_S
    while time.monotonic() < end:
        for agent in sshd.programs(_AGENT):
            if agent.name().startswith("python") and any(
                process.ppid() != agent.pid for process in agent.children(recursive=True)
            ):
                return agent
        time.sleep(0.01)
    raise AssertionError("no job runs on the far side")


def is_whole(study: Path, found: paretune.SearchResult) -> None:
    """Require what an undisturbed search yields: both candidates, each measured and once."""
    rows = found.results["candidates"]
    assert [row["id"] for row in rows] == [1, 2]
    assert [len(row["recipe"]) for row in rows] == [0, 1]
    # A candidate that is slower on this machine may be pruned.
    assert [row["outcome"] for row in rows] in (["ok", "ok"], ["ok", "pruned"])
    assert all(row["metrics"]["latency_ms_p50"]["value"] > 0 for row in rows)
    assert found.results["status"] == "finished"
    assert len(list((study / "candidates").glob("*/outcome.json"))) == 2
    assert not list((study / "candidates").glob("*/dropped-*.json"))
    assert found.best is not None


def let_time_pass(target: SshTarget) -> None:
    """Let the time limit of the jobs that run pass, and the time beyond it."""
    talk = target._talk
    assert talk is not None
    for number, pending in dict(talk._pending).items():
        assert pending.timer is not None, "it has a limit"
        pending.timer.function(*pending.timer.args)
        assert number not in talk._pending


@pytest.mark.parametrize(
    "killed", ["connection", "stopped", pytest.param("agent", marks=pytest.mark.slow)]
)
def test_a_search_goes_on_by_itself(
    sshd: Sshd, searching: Searching, tmp_path: Path, killed: str
) -> None:
    lost = []

    def kill() -> None:
        agent = agent_with_a_job(sshd)
        lost.extend([agent, *agent.children(recursive=True)])
        if killed == "stopped":
            agent.suspend()
            let_time_pass(Board.latest)
            agent.resume()
            return
        for process in [agent] if killed == "agent" else sshd.connections():
            process.kill()

    found = searching(kill)
    is_whole(tmp_path / "study", found)
    steps = [step["step"] for step in found.results["candidates"][1]["seconds"]]
    assert steps.count("measure:crashed") == 1, "the job that was lost was tried again"
    psutil.wait_procs(lost, _WITHIN_S)
    assert not [process for process in lost if process.is_running()]


@pytest.fixture
def mortal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """An sshd that a test may stop."""
    started = start(tmp_path / "sshd")
    monkeypatch.setenv("PATH", f"{started.client}:{os.environ['PATH']}")
    yield started
    started.stop()


def test_a_board_that_stays_away_ends_the_search_which_continues_later(
    mortal: Sshd, searching: Searching, tmp_path: Path
) -> None:
    def stop() -> None:
        agent_with_a_job(mortal)
        mortal.stop()

    with pytest.raises(TargetLostError) as caught:
        searching(stop)
    assert caught.value.exit_status == 2
    assert "connection to the target 'board' was lost: it cannot be reached" in str(caught.value)
    assert "give the same command again: the study continues" in str(caught.value)
    results = json.loads((tmp_path / "study" / "results.json").read_text())
    assert results["status"] == "interrupted"
    assert [(row["id"], row["outcome"]) for row in results["candidates"]] == [(1, "ok")]
    outcome = tmp_path / "study" / "candidates" / "0001" / "outcome.json"
    before = outcome.read_bytes()
    mortal.start_again()
    is_whole(tmp_path / "study", searching())
    assert outcome.read_bytes() == before
