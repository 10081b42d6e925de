"""A target made of two: builds go to one, measurements to the other."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
from fake_study import search, write_fake_study

from paretune.core.device import TargetInfo
from paretune.core.job import Job, JobResult, JobStatus
from paretune.core.jsontools import read_json
from paretune.core.target import Interleaves, Target, builds_apart, is_far
from paretune.study.results import SCHEMA_FILE
from paretune.targets.launchers.local import LocalTarget
from paretune.targets.launchers.python import PythonTarget
from paretune.targets.split import SplitTarget, builder_of, measurer_of, near_target


class Noting(LocalTarget):
    """This machine under another name; it notes the kinds of the jobs that it is given."""

    def __init__(self, name: str, memory_free: int | None = None, cores: int | None = None) -> None:
        super().__init__()
        self.name = name
        self.kinds: list[str] = []
        self._facts = {"memory_free": memory_free, "cores": cores}

    def info(self) -> TargetInfo:
        facts = {key: value for key, value in self._facts.items() if value is not None}
        return replace(super().info(), **facts)  # type: ignore[arg-type]

    def submit(self, job: Job) -> Future[JobResult]:
        self.kinds.append(job.kind)
        return super().submit(job)


class Plain:
    """A target that does not interleave; its `close` may fail."""

    def __init__(self, closed: list[str], name: str, *, fails: bool = False) -> None:
        self.closed, self.name, self.fails = closed, name, fails

    def info(self) -> TargetInfo:
        return TargetInfo(self.name)

    def submit(self, job: Job) -> Future[JobResult]:
        future: Future[JobResult] = Future()
        future.set_result(JobResult(JobStatus.OK, self.name))
        return future

    def cancel(self) -> None:
        self.closed.append(f"cancel {self.name}")

    def close(self) -> None:
        self.closed.append(f"close {self.name}")
        if self.fails:
            raise OSError("it is gone")


def test_a_search_builds_on_one_and_measures_on_the_other(tmp_path: Path) -> None:
    config = write_fake_study(tmp_path, {"x": [1, 2]})
    build, board = Noting("here"), Noting("board", cores=1)
    found = search(config, target=SplitTarget(build, board))
    assert "build" in build.kinds
    assert set(build.kinds) <= {"build", "call"}
    assert set(board.kinds) == {"measure"}
    results = read_json(found.study / "results.json")
    assert results["device"]["name"] == "board"
    assert json.loads((found.study / "device.json").read_text())["name"] == "board"
    identity = json.loads((found.study / "identity.json").read_text())
    assert identity["device"] == board.info().fingerprint != build.info().fingerprint


def test_results_hold_each_device(tmp_path: Path) -> None:
    config = write_fake_study(tmp_path, {"x": [1, 2]})
    found = search(config, target=SplitTarget(Noting("here"), Noting("board")))
    results = read_json(found.study / "results.json")
    assert json.loads(SCHEMA_FILE.read_text())["properties"]["devices"]
    (device,) = results["devices"].values()
    assert list(results["devices"]) == ["board"]
    assert device["device"] == results["device"]
    for key in ("pareto", "best", "nearest_miss"):
        assert device[key] == results[key]
    measured = {str(c["id"]): c["metrics"] for c in results["candidates"] if c["metrics"]}
    assert device["metrics"] == measured
    assert measured


def test_a_study_of_another_measuring_device_is_refused(tmp_path: Path) -> None:
    from paretune.core.errors import UsageError

    config = write_fake_study(tmp_path, {"x": [1]})
    search(config, target=SplitTarget(Noting("here"), Noting("board")))
    with pytest.raises(UsageError, match=r"device was .*name was board, is other"):
        search(config, target=SplitTarget(Noting("here"), Noting("other")))
    search(config, target=SplitTarget(Noting("elsewhere"), Noting("board")))  # builds may move


@pytest.mark.parametrize("small", ["build", "measure"])
def test_builds_are_checked_against_the_memory_of_the_building_host(
    tmp_path: Path, small: str
) -> None:
    config = write_fake_study(tmp_path, {"x": [1]})
    free = {"build": 10**12, "measure": 10**12, small: 1000}
    target = SplitTarget(Noting("here", free["build"]), Noting("board", free["measure"]))
    results = search(config, target=target).results
    outcomes = {candidate["outcome"] for candidate in results["candidates"]}
    assert outcomes == ({"skipped"} if small == "build" else {"ok"})


def test_it_interleaves_where_the_measuring_target_does() -> None:
    with Noting("here") as build, Noting("board") as board:
        assert isinstance(SplitTarget(build, board), Interleaves)
        plain = SplitTarget(build, Plain([], "plain"))
        assert not isinstance(plain, Interleaves)
        assert isinstance(plain, Target)


def test_interleaved_jobs_run_where_it_is_measured() -> None:
    class Turns(Plain):
        def interleave(
            self, jobs: Sequence[Job], order: random.Random, seconds: float | None = None
        ) -> list[JobResult]:
            return [JobResult(JobStatus.OK, self.name) for _ in jobs]

    split = SplitTarget(Plain([], "here"), Turns([], "board"))
    assert isinstance(split, Interleaves)
    assert split.interleave([], random.Random(0), 1.0) == []


def test_both_are_closed_even_if_one_fails() -> None:
    closed: list[str] = []
    split = SplitTarget(Plain(closed, "here", fails=True), Plain(closed, "board"))
    split.cancel()
    with pytest.raises(OSError, match="gone"):
        split.close()
    assert closed == ["cancel here", "cancel board", "close here", "close board"]


def test_the_parts_of_a_target() -> None:
    here, board = Plain([], "here"), Plain([], "board")
    split = SplitTarget(here, board)
    assert builder_of(split) is here
    assert measurer_of(split) is board
    assert builder_of(here) is measurer_of(here) is here


@pytest.mark.parametrize(
    ("boots", "apart"), [(("a", "b"), True), (("a", "a"), False), (("a", ""), False)]
)
def test_builds_continue_beside_measurements_on_another_machine_only(
    boots: tuple[str, str], apart: bool
) -> None:
    class Booted(Plain):
        def info(self) -> TargetInfo:
            return TargetInfo(self.name, boot_id=self.name)

    assert builds_apart(SplitTarget(*(Booted([], boot) for boot in boots))) is apart


def test_calls_about_files_of_this_machine_run_here(tmp_path: Path) -> None:
    here, board = Plain([], "here"), Plain([], "board")
    with near_target(SplitTarget(here, board), tmp_path) as near:
        assert near is here
    far = PythonTarget(tmp_path, name="far")
    try:
        assert is_far(far)
        assert not is_far(here)
        with near_target(SplitTarget(far, board), tmp_path) as near:
            assert isinstance(near, LocalTarget)
            assert not is_far(near)
    finally:
        far.close()
