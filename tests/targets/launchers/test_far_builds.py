"""Builds of a far side, as their target's caller sees them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from paretune.core.candidate import Step
from paretune.core.errors import TargetLostError, TransientError
from paretune.core.job import Build, BuildResult, Job, JobResult, JobStatus
from paretune.models.handle import folder_digest
from paretune.targets.launchers.far_builds import FarBuilds
from paretune.targets.transports.files import FileStore
from paretune.targets.transports.tasks import Describer
from paretune.targets.worker import building
from tests.targets.two_stores import Sides, two_stores

WITHIN_S = 120.0


@dataclass
class Elsewhere:
    """A far side that builds at once, and the transport from there.

    Attributes:
        sides: The two stores.
        change: Changes what it answers.
        seeds: Of each build that it was asked for, how many steps came with it.
        before: Called before each fetch.
        stopped: Set when a fetch is to end.
    """

    sides: Sides
    change: Callable[[BuildResult], BuildResult] = lambda value: value
    seeds: list[int] = field(default_factory=list)
    before: Callable[[], None] = lambda: None
    stopped: threading.Event = field(default_factory=threading.Event)

    def submit(self, job: Job) -> Future[JobResult]:
        assert isinstance(job.task, Build)
        assert job.task.seeds is not None
        self.seeds.append(len(job.task.seeds))
        future: Future[JobResult] = Future()
        value = self.change(self.sides.built(job.task.seeds))
        future.set_result(JobResult(JobStatus.OK, value, seconds=1.5))
        return future

    def fetch(self, wanted: Mapping[str, int], store: FileStore) -> None:
        self.before()
        if self.stopped.is_set():
            raise TransientError("it was stopped")
        self.sides.fetch(wanted, store)

    def stop_fetching(self) -> None:
        self.stopped.set()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Elsewhere:
    return Elsewhere(two_stores(tmp_path))


@pytest.fixture
def builds(elsewhere: Elsewhere) -> FarBuilds:
    return FarBuilds("board", elsewhere.submit, Describer(), elsewhere)


def run(builds: FarBuilds, elsewhere: Elsewhere) -> JobResult:
    return builds.submit(Job(elsewhere.sides.task)).result(WITHIN_S)


def test_a_build_there_is_in_the_store_here_and_not_asked_for_again(
    builds: FarBuilds, elsewhere: Elsewhere
) -> None:
    result = run(builds, elsewhere)
    assert (result.status, result.seconds) == (JobStatus.OK, 1.5)
    model = result.value.model
    assert model.path.is_relative_to(elsewhere.sides.folder / "near")
    assert folder_digest(model.path) == model.digest
    again = run(builds, elsewhere)
    assert again.value.model == model
    assert all(step.cached for step in again.value.steps)
    assert elsewhere.seeds == [0]
    assert not any((elsewhere.sides.folder / "near" / "arriving").glob("*/*"))


def test_what_lies_here_is_a_seed_unless_it_is_damaged(
    builds: FarBuilds, elsewhere: Elsewhere
) -> None:
    sides = elsewhere.sides
    first = replace(sides.task, recipe=sides.task.recipe[:1])
    built = building.build(first, lambda progress: None)
    assert run(builds, elsewhere).status is JobStatus.OK
    assert elsewhere.seeds == [1]
    for action in sides.near.actions():
        if action.digest != built.model.digest:
            (sides.near.root / "actions" / f"{action.key}.json").unlink()
    file = built.model.path / "fake.txt"
    file.write_text(file.read_text().swapcase())
    assert run(builds, elsewhere).status is JobStatus.OK
    assert elsewhere.seeds == [1, 0]


def test_what_is_not_believed_is_a_transient_failure(
    builds: FarBuilds, elsewhere: Elsewhere
) -> None:
    elsewhere.change = lambda value: replace(value, made=())
    result = run(builds, elsewhere)
    assert (result.status, result.transient, result.value) == (JobStatus.FAILED, True, None)
    assert "what board built was not taken over: noop was built under another key" in str(
        result.reason
    )
    elsewhere.sides.nothing_came()


def test_names_that_were_not_checked_are_never_opened(
    builds: FarBuilds, elsewhere: Elsewhere
) -> None:
    """Of a step that lies here, what the far side announces of its files is not remembered."""
    first, _ = elsewhere.sides.task.recipe
    assert run(builds, elsewhere).status is JobStatus.OK

    def change(value: BuildResult) -> BuildResult:
        file = replace(value.made[1].files[0], name="/dev/zero", sha256="0" * 64)
        return replace(value, made=(replace(value.made[0], files=(file,)), value.made[1]))

    elsewhere.change = change
    task = replace(elsewhere.sides.task, recipe=(first, Step("noop", {"x": 3})))
    elsewhere.sides.task = task
    result = run(builds, elsewhere)
    assert result.status is JobStatus.OK
    assert not result.value.made
    assert Path("/dev/zero") not in builds._here.values()
    assert "0" * 64 not in builds._here


def test_what_makes_a_reader_stumble_is_a_transient_failure(
    builds: FarBuilds, elsewhere: Elsewhere
) -> None:
    elsewhere.change = lambda value: replace(value, made=(3, 4))  # type: ignore[arg-type]
    result = run(builds, elsewhere)
    assert (result.status, result.transient) == (JobStatus.FAILED, True)
    assert "what board built cannot be read: AttributeError" in str(result.reason)


def test_a_build_that_is_invalid_is_so_here_too(builds: FarBuilds, elsewhere: Elsewhere) -> None:
    def invalid(value: BuildResult) -> BuildResult:
        made = value.made[1]
        fidelity = {**made.note["fidelity"], "valid": False, "reason": "it is another model"}
        note = {**made.note, "fidelity": fidelity}
        return replace(value, made=(value.made[0], replace(made, note=note)))

    elsewhere.change = invalid
    for _ in range(2):
        result = run(builds, elsewhere)
        assert (result.status, result.transient) == (JobStatus.INVALID, False)
        assert "noop: it is another model" in str(result.reason)
    assert elsewhere.seeds == [0], "the store here knows it then"


def test_a_far_side_that_cannot_be_reached_says_so_at_once(elsewhere: Elsewhere) -> None:
    lost = JobResult(JobStatus.CRASHED, None, "gone", transient=True, lost=TargetLostError("gone"))

    def submit(job: Job) -> Future[JobResult]:
        future: Future[JobResult] = Future()
        future.set_result(lost)
        return future

    builds = FarBuilds("board", submit, Describer(), elsewhere)
    future = builds.submit(Job(elsewhere.sides.task))
    assert future.done()
    assert future.result() is lost


@pytest.mark.parametrize("one", [True, False])
def test_a_build_is_cancelled_while_its_artifacts_are_on_their_way(
    builds: FarBuilds, elsewhere: Elsewhere, one: bool
) -> None:
    begun = threading.Event()

    def wait() -> None:
        begun.set()
        assert elsewhere.stopped.wait(WITHIN_S)

    elsewhere.before = wait
    future = builds.submit(Job(elsewhere.sides.task))
    assert begun.wait(WITHIN_S)
    assert builds.there(future) is not future
    builds.cancel(future if one else None)
    result = future.result(WITHIN_S)
    assert (result.status, result.transient) == (JobStatus.CANCELLED, False)
    builds.close()
    elsewhere.sides.nothing_came()


def test_nothing_is_received_while_this_machine_is_taken(
    builds: FarBuilds, elsewhere: Elsewhere
) -> None:
    measuring = threading.Lock()
    builds.moving = lambda: measuring
    with measuring:
        future = builds.submit(Job(elsewhere.sides.task))
        assert not future.done()
        assert not elsewhere.sides.fetched
    assert future.result(WITHIN_S).status is JobStatus.OK


def test_nothing_is_held_up_while_another_build_makes_a_step(
    builds: FarBuilds, elsewhere: Elsewhere
) -> None:
    sides, measuring = elsewhere.sides, threading.Lock()
    builds.moving = lambda: measuring
    notes: queue.SimpleQueue[str] = queue.SimpleQueue()
    job = Job(sides.task, on_progress=lambda progress: notes.put(progress.note))
    (first, _) = sides.built().made
    with sides.near.lock(first.key):
        future = builds.submit(job)
        while "waits for a step" not in notes.get(timeout=WITHIN_S):
            pass
        assert measuring.acquire(timeout=WITHIN_S), "this machine can measure"
        measuring.release()
        assert not future.done()
        assert not sides.fetched
    assert future.result(WITHIN_S).status is JobStatus.OK


def test_a_build_that_waits_for_a_step_can_be_cancelled(
    builds: FarBuilds, elsewhere: Elsewhere
) -> None:
    sides = elsewhere.sides
    notes: queue.SimpleQueue[str] = queue.SimpleQueue()
    (first, _) = sides.built().made
    with sides.near.lock(first.key):
        future = builds.submit(Job(sides.task, on_progress=lambda said: notes.put(said.note)))
        while "waits for a step" not in notes.get(timeout=WITHIN_S):
            pass
        builds.cancel(future)
        assert future.result(WITHIN_S).status is JobStatus.CANCELLED
