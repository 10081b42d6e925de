"""The fork server's spares: children that are forked before there is a job for them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import psutil
import pytest
from local_jobs import run

from paretune.core.job import Call, Job, JobStatus
from paretune.targets.launchers import process
from paretune.targets.launchers.fork_serving import SPARES
from paretune.targets.launchers.local import LocalTarget

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fork server")


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls count as jobs in which nothing is timed."""
    monkeypatch.setattr(process, "UNTIMED_TASKS", (Call,))


def children(target: LocalTarget) -> set[int]:
    server = target._launcher.pid  # type: ignore[union-attr]
    return set() if server is None else {p.pid for p in psutil.Process(server).children()}


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def with_spares(target: LocalTarget) -> set[int]:
    """Return the process ids of the spares that a job leaves."""
    job = target.submit(Job(Call("job_functions:sleep", {"seconds": 600})))
    wait_until(lambda: len(children(target)) == 1 + SPARES)
    target.cancel(job)
    assert job.result().status is JobStatus.CANCELLED
    return children(target)


@pytest.mark.usefixtures("untimed")
def test_each_spare_becomes_one_job_and_ends_with_it(target: LocalTarget) -> None:
    forked_for_it = run(target, "facts").value
    spares = with_spares(target)
    assert len(spares) == SPARES
    seen = [run(target, "facts").value for _ in range(2)]
    pids = {facts["pid"] for facts in seen}
    assert len(pids) == 2
    assert pids <= spares
    assert all(facts["session"] == facts["pid"] for facts in seen)
    assert all(facts["descriptors"] == forked_for_it["descriptors"] for facts in seen)
    assert not pids & children(target)


def test_none_is_forked_where_something_may_be_timed(target: LocalTarget) -> None:
    job = target.submit(Job(Call("job_functions:sleep", {"seconds": 600})))
    wait_until(lambda: len(children(target)) == 1)
    assert run(target, "facts").status is JobStatus.OK
    assert len(children(target)) == 1
    target.cancel(job)
    job.result()
    assert not children(target)


@pytest.mark.usefixtures("untimed")
def test_spares_that_were_killed_are_passed_over(target: LocalTarget) -> None:
    spares = with_spares(target)
    for pid in spares:
        psutil.Process(pid).kill()
    wait_until(lambda: not spares & children(target))
    assert run(target, "facts").value["pid"] not in spares


@pytest.mark.usefixtures("untimed")
def test_a_job_that_ends_badly_leaves_the_spares_alone(target: LocalTarget) -> None:
    spares = with_spares(target)
    assert run(target, "segfault").status is JobStatus.CRASHED
    assert run(target, "facts").value["pid"] in spares
