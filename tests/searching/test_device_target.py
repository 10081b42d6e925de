"""One device of several: it measures alone on its machine, and builds in the pool of all."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest
from slow_target import SlowTarget

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import TargetLostError, TargetRefusesError
from paretune.core.job import Build, Job, JobResult, JobStatus, Smoke
from paretune.core.machines import Machines
from paretune.core.model import Model
from paretune.core.target import Interleaves, Target, build_slots, builds_apart
from paretune.search.lost_targets import LOST_WAITS_S
from paretune.searching.device_target import DeviceTarget
from paretune.targets.pool import Builder, BuildPool
from paretune.targets.split import builder_of, measurer_of

BUILD = Job(
    Build(
        model=Model("hf", Path("m"), "sha256:0"),
        recipe=(),
        provider="cpu",
        store=Path("store"),
        data={},
    )
)
MEASURE = Job(Smoke(model=Model("hf", Path("m"), "sha256:0"), runtime=RuntimeSettings("cpu", 1)))


class Study:
    """Two devices on one machine, a third one elsewhere, and a builder here."""

    def __init__(self) -> None:
        self.machines = Machines()
        self.builder = SlowTarget("builder", "here")
        self.pool = BuildPool([Builder(self.builder)], self.machines)
        self.notes: list[str] = []

    def device(self, name: str, machine: str = "here") -> tuple[SlowTarget, DeviceTarget]:
        measures = SlowTarget(name, machine)
        device = DeviceTarget(name, self.pool, measures, self.machines, "here", self.notes.append)
        return measures, device


def elsewhere(run: Callable[[], object]) -> Future[object]:
    """Call something in a thread of its own."""
    future: Future[object] = Future()

    def call() -> None:
        try:
            future.set_result(run())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future


def test_it_is_a_target_whose_builds_may_begin_at_any_time() -> None:
    study = Study()
    measures, device = study.device("board")
    assert isinstance(device, Target)
    assert isinstance(device, Interleaves)
    assert builds_apart(device)
    assert build_slots(device) == 1
    assert device.info().name == "board"
    assert builder_of(device) is study.builder
    assert measurer_of(device) is measures


def test_devices_on_one_machine_measure_one_after_another_and_never_beside_a_build() -> None:
    study = Study()
    (one, first), (other, second) = study.device("one"), study.device("other")
    (far, third) = study.device("far", "there")
    measured = first.submit(MEASURE)
    one.started(1)
    waits, built, apart = second.submit(MEASURE), second.submit(BUILD), third.submit(MEASURE)
    far.started(1)
    assert not other.jobs
    assert not study.builder.jobs
    one.end()
    assert measured.result(300).waited == 0.0
    other.started(1)
    other.end()
    assert waits.result(300).waited > 0
    study.builder.started(1)
    study.builder.end()
    assert built.result(300).value == "builder"
    far.end()
    assert apart.result(300).value == "far"


def test_cancelling_ends_the_jobs_of_one_device_only() -> None:
    study = Study()
    (one, first), (other, second) = study.device("one", "a"), study.device("other", "b")
    building = first.submit(BUILD)
    study.builder.started(1)
    waiting = second.submit(BUILD)
    measuring = second.submit(MEASURE)
    other.started(1)
    second.cancel()
    assert waiting.result(300).status is JobStatus.CANCELLED
    assert measuring.result(300).status is JobStatus.CANCELLED
    assert not building.done()
    study.builder.end()
    assert building.result(300).status is JobStatus.OK
    again = second.submit(MEASURE)
    other.started(2)
    other.end()
    assert again.result(300).status is JobStatus.OK
    del one


def test_nothing_begins_after_an_interrupt() -> None:
    study = Study()
    one, device = study.device("one")
    running = device.submit(MEASURE)
    one.started(1)
    device.interrupt()
    assert running.result(300).status is JobStatus.CANCELLED
    for begin in (
        lambda: device.submit(MEASURE),
        lambda: device.interleave([MEASURE], random.Random(0)),
        lambda: device.choosing().__enter__(),
    ):
        with pytest.raises(KeyboardInterrupt):
            begin()


def test_who_waits_for_a_machine_is_let_go_by_an_interrupt() -> None:
    study = Study()
    (one, first), (_, second) = study.device("one"), study.device("other")
    held = first.submit(MEASURE)
    one.started(1)
    job = second.submit(MEASURE)
    chooses = elsewhere(lambda: second.choosing().__enter__())
    rounds = elsewhere(lambda: second.interleave([MEASURE], random.Random(0)))
    second.interrupt()
    assert job.result(300).status is JobStatus.CANCELLED
    for each in (chooses, rounds):
        with pytest.raises(KeyboardInterrupt):
            each.result(300)
    one.end()
    held.result(300)


def test_interleaved_jobs_have_the_machine_alone() -> None:
    study = Study()
    (one, first), (other, second) = study.device("one"), study.device("other")
    held = second.submit(MEASURE)
    other.started(1)
    with pytest.raises(TimeoutError):
        first.interleave([MEASURE, MEASURE], random.Random(0), 0.0)
    assert not one.jobs
    rounds = elsewhere(lambda: first.interleave([MEASURE, MEASURE], random.Random(0)))
    other.end()
    held.result(300)
    results = rounds.result(300)
    assert isinstance(results, list)
    assert [each.status for each in results] == [JobStatus.OK] * 2
    assert all(each.interference is not None for each in results), "it is watched while it runs"


def test_nothing_is_measured_here_while_the_search_chooses() -> None:
    study = Study()
    (one, first), (_, second) = study.device("one"), study.device("far", "there")
    with second.choosing():
        measured = first.submit(MEASURE)
        with study.machines._changed:
            assert study.machines._changed.wait_for(
                lambda: bool(study.machines._waiting["here"]), 300
            )
        assert not one.jobs
    one.started(1)
    one.end()
    measured.result(300)


def lost(job: Job) -> Future[JobResult]:
    """Answer as a device that cannot be reached any more."""
    future: Future[JobResult] = Future()
    error = TargetLostError("the board is away", hint="Plug it in.")
    future.set_result(JobResult(JobStatus.CRASHED, None, str(error), transient=True, lost=error))
    return future


def test_a_device_that_stays_away_ends_the_search_and_no_candidate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("paretune.search.lost_targets.time.sleep", lambda seconds: None)
    study = Study()
    measures, device = study.device("board", "there")

    monkeypatch.setattr(measures, "submit", lost)
    with pytest.raises(TargetLostError) as caught:
        device.submit(MEASURE).result(300)
    assert caught.value.hint == (
        "Plug it in. Then give the same command again: the study continues where it stopped."
    )
    assert len(study.notes) == len(LOST_WAITS_S), "it was tried again, and said so"


def test_a_device_that_refuses_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study()
    measures, device = study.device("board", "there")
    error = TargetRefusesError("its host key is another one than before")

    def refuses(job: Job) -> Future[JobResult]:
        future: Future[JobResult] = Future()
        future.set_result(JobResult(JobStatus.CRASHED, transient=True, lost=error))
        return future

    monkeypatch.setattr(measures, "submit", refuses)
    with pytest.raises(TargetRefusesError, match="host key"):
        device.submit(MEASURE).result(300)
    assert not study.notes


def test_others_use_the_machine_of_a_device_that_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both are on one machine: another environment of it can be reached."""
    study = Study()
    measures, device = study.device("board")
    other, second = study.device("other")
    away = [True]

    def submit(job: Job) -> Future[JobResult]:
        return lost(job) if away.pop() else other.submit(job)

    monkeypatch.setattr(measures, "submit", submit)

    def meanwhile(seconds: float, pending: object) -> None:
        running = second.submit(MEASURE)
        other.started(1)
        other.end()
        assert running.result(300).status is JobStatus.OK
        away.append(False)

    monkeypatch.setattr("paretune.searching.device_target._pause", meanwhile)
    waits = device.submit(MEASURE)
    other.started(2)
    other.end()
    assert waits.result(300).status is JobStatus.OK


def test_a_job_that_is_cancelled_while_its_device_is_away_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = Study()
    measures, device = study.device("board")
    monkeypatch.setattr(measures, "submit", lost)
    monkeypatch.setattr(device, "_note", lambda text: device.cancel())
    assert device.submit(MEASURE).result(300).status is JobStatus.CANCELLED
    other, second = study.device("other")
    running = second.submit(MEASURE)
    other.started(1)
    other.end()
    assert running.result(300).status is JobStatus.OK
