"""Builds go to whatever is free."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest
from slow_target import SlowTarget

from paretune.core.job import Call, Job, JobResult, JobStatus, Limits
from paretune.core.machines import GivenUpError, Machines, Work
from paretune.core.target import Target
from paretune.targets.pool import Builder, BuildPool

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
