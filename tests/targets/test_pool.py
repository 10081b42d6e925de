"""Builds go to whatever is free."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import replace

import pytest
from slow_target import SlowTarget

from paretune.core.device import TargetInfo
from paretune.core.errors import ConnectionLostError, TargetLostError
from paretune.core.job import Call, Job, JobResult, JobStatus, Limits
from paretune.core.machine_lock import GivenUpError
from paretune.core.machines import Machines, Work
from paretune.core.target import Target, machines_of
from paretune.targets.pool import MOST_LOSSES, Builder, BuildPool, builders_on

JOB = Job(Call("anything:at_all"))


def submitted(pool: BuildPool, job: Job = JOB) -> Future[JobResult]:
    """Run a job in a thread of its own."""
    future: Future[JobResult] = Future()

    def run() -> None:
        future.set_result(pool.run(job, "x", lambda: False, lambda target, running: None))

    threading.Thread(target=run, daemon=True).start()
    return future


def test_a_build_runs_where_a_slot_is_free() -> None:
    one, other = SlowTarget("one", "a"), SlowTarget("other", "b")
    pool = BuildPool([Builder(one), Builder(other, 2)], Machines())
    assert pool.slots == 3
    futures = [submitted(pool)]
    other.started(1)
    futures.append(submitted(pool))
    one.started(1)
    futures.append(submitted(pool))
    other.started(2)
    futures.append(submitted(pool))  # there is no slot for it
    one.end()
    one.started(2)
    other.end()
    other.end()
    one.end()
    assert {future.result(300).value for future in futures} == {"one", "other"}


def test_no_build_begins_while_its_machine_measures() -> None:
    machines, builder = Machines(), SlowTarget("here", "a")
    pool = BuildPool([Builder(builder)], machines)
    with machines.use("a", "x", Work.MEASURE):
        future = submitted(pool)
        with machines._changed:
            assert machines._changed.wait_for(lambda: bool(machines._waiting["a"]), 300)
        assert not builder.jobs
    builder.started(1)
    builder.end()
    result = future.result(300)
    assert result.status is JobStatus.OK
    assert result.waited > 0


def test_what_nobody_waits_for_any_more_gives_its_slot_back() -> None:
    builder = SlowTarget("here")
    pool = BuildPool([Builder(builder)], Machines())
    first = submitted(pool)
    builder.started(1)
    gone, ended = threading.Event(), threading.Event()

    def waits() -> None:
        with pytest.raises(GivenUpError):
            pool.run(JOB, "x", gone.is_set, lambda target, running: None)
        ended.set()

    threading.Thread(target=waits, daemon=True).start()
    gone.set()
    pool.look_again()
    assert ended.wait(300)
    builder.end()
    assert first.result(300).status is JobStatus.OK
    last = submitted(pool)
    builder.started(2)
    builder.end()
    last.result(300)


def test_builds_beside_each_other_share_the_memory() -> None:
    told: list[Target] = []
    builder = SlowTarget("here")
    pool = BuildPool([Builder(builder, 2)], Machines())
    future = submitted(pool)
    builder.started(1)
    builder.end()
    future.result(300)
    assert builder.jobs[0].limits.memory == 450_000_000
    limited = submitted(pool, Job(JOB.task, Limits(memory=7)))
    builder.started(2)
    builder.end()
    limited.result(300)
    assert builder.jobs[1].limits.memory == 7
    alone = SlowTarget("alone")
    threading.Thread(
        target=BuildPool([Builder(alone)], Machines()).run,
        args=(JOB, "x", lambda: False, lambda target, running: told.append(target)),
        daemon=True,
    ).start()
    alone.started(1)
    assert alone.jobs[0].limits.memory is None
    alone.end()


def lose(builder: SlowTarget, error: TargetLostError | None = None) -> None:
    """End a running job as one whose connection was lost."""
    error = error or ConnectionLostError("it is gone")
    result = JobResult(JobStatus.CRASHED, None, str(error), transient=True, lost=error)
    builder.running.pop(0)[1].set_result(result)


def test_a_job_of_a_lost_builder_goes_elsewhere_and_the_builder_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("paretune.targets.pool._TRIED_AGAIN_S", 0.01)
    one, other = SlowTarget("one", "a"), SlowTarget("other", "b")
    away = threading.Event()
    info = one.info

    def answers() -> TargetInfo:
        if away.is_set():
            raise TargetLostError("it is away")
        return info()

    pool = BuildPool([Builder(one), Builder(other)], Machines())
    monkeypatch.setattr(one, "info", answers)
    notes: list[str] = []
    job = replace(JOB, on_progress=lambda progress: notes.append(progress.note))
    away.set()
    future = submitted(pool, job)
    one.started(1)
    lose(one)
    other.started(1)
    assert notes == ["one was lost; the job goes to another builder"]
    waits = submitted(pool)  # for the other one, as the first one is away
    other.end()
    assert future.result(300).status is JobStatus.OK
    other.started(2)
    assert len(one.jobs) == 1
    other.end()
    assert waits.result(300).value == "other"
    away.clear()
    with pool._freed:
        assert pool._freed.wait_for(lambda: not pool.builders[0].lost, 300)
    again = submitted(pool)
    one.started(2)
    one.end()
    assert again.result(300).value == "one"
    pool.close()


def test_a_job_that_loses_every_builder_is_lost() -> None:
    targets = [SlowTarget(name, name) for name in "abcde"]
    pool = BuildPool([Builder(target) for target in targets], Machines())
    future = submitted(pool)
    for target in targets[:MOST_LOSSES]:
        target.started(1)
        lose(target)
    result = future.result(300)
    assert (result.status, result.transient) == (JobStatus.CRASHED, True)
    assert not targets[MOST_LOSSES].jobs
    assert not pool.all_lost
    pool.close()


def test_when_all_builders_are_lost_a_job_is_tried_once_more() -> None:
    targets = [SlowTarget("one", "a"), SlowTarget("other", "b")]
    pool = BuildPool([Builder(target) for target in targets], Machines())
    pool.close()  # nothing is tried in the background
    future = submitted(pool)
    for target in targets:
        target.started(1)
        lose(target)
    assert isinstance(future.result(300).lost, ConnectionLostError)
    assert pool.all_lost
    last = submitted(pool)
    targets[0].started(2)
    lose(targets[0], TargetLostError("it stays away"))
    assert str(last.result(300).lost) == "it stays away"


def test_a_builder_that_cannot_be_asked_for_its_memory_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, other = SlowTarget("one", "a"), SlowTarget("other", "b")
    pool = BuildPool([Builder(one, 3), Builder(other, 2)], Machines())
    pool.close()

    def gone() -> TargetInfo:
        raise TargetLostError("it is away")

    monkeypatch.setattr(one, "info", gone)
    future = submitted(pool)
    other.started(1)
    other.end()
    assert future.result(300).value == "other"
    assert not one.jobs


def test_the_hosts_of_a_target_share_its_slots() -> None:
    class Hosts(SlowTarget):
        members = (SlowTarget("one", "a"), SlowTarget("other", "b"))

    assert [each.slots for each in builders_on(Hosts("both"), 3)] == [2, 1]
    assert [each.slots for each in builders_on(Hosts("both"), 1)] == [1]
    assert machines_of(Hosts("both")) == {"a", "b"}
    assert [each.name for each in builders_on(SlowTarget("alone"), 2)] == ["alone"]


def test_a_builder_that_is_away_when_the_pool_is_made_gets_jobs_when_it_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("paretune.targets.pool._TRIED_AGAIN_S", 0.01)
    one, other = SlowTarget("one", "a"), SlowTarget("other", "b")
    away, info = threading.Event(), one.info

    def answers() -> TargetInfo:
        if not away.is_set():
            raise TargetLostError("it is away")
        return info()

    monkeypatch.setattr(one, "info", answers)
    pool = BuildPool([Builder(one), Builder(other)], Machines())
    assert [builder.name for builder in pool.builders] == ["one", "other"]
    futures = [submitted(pool)]
    other.started(1)
    futures.append(submitted(pool))  # waits
    assert not one.jobs
    away.set()
    one.started(1)
    assert pool.builders[0].machine == "a"
    one.end()
    other.end()
    assert {future.result(300).value for future in futures} == {"one", "other"}
    pool.close()


def test_a_builder_that_is_alone_is_lost_like_others() -> None:
    alone = SlowTarget("alone", "a")
    pool = BuildPool([Builder(alone)], Machines())
    pool.close()
    future = submitted(pool)
    alone.started(1)
    lose(alone)
    assert isinstance(future.result(300).lost, ConnectionLostError)
    assert pool.all_lost
