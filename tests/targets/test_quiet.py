"""Nothing moves while this machine measures."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from paretune.core.device import TargetInfo
from paretune.core.job import Call, Job, JobResult, JobStatus, Measure
from paretune.core.target import is_far
from paretune.targets.quiet import Quiet
from paretune.targets.split import SplitTarget
from tests.targets.far_sides import CALL, MEASURE

WITHIN_S = 120.0


def test_a_transfer_waits_for_a_measurement_and_a_measurement_for_a_transfer() -> None:
    quiet, seen = Quiet(), list[str]()
    with ThreadPoolExecutor(4) as pool:

        def move(name: str, until: threading.Event) -> None:
            with quiet.moving():
                seen.append(f"{name} begins")
                assert until.wait(WITHIN_S)
                seen.append(f"{name} ends")

        def measure() -> None:
            with quiet.measuring():
                seen.append("measured")

        first, second, now = threading.Event(), threading.Event(), threading.Event()
        now.set()
        both = [pool.submit(move, "a", first), pool.submit(move, "b", second)]
        while len(seen) < 2:
            assert not any(each.done() for each in both)
        measured = pool.submit(measure)
        while not quiet._measuring:
            assert not measured.done()
        late = pool.submit(move, "c", now)
        first.set()
        both[0].result(WITHIN_S)
        assert not measured.done()
        second.set()
        for each in (*both, measured, late):
            each.result(WITHIN_S)
    assert seen[2:] == ["a ends", "b ends", "measured", "c begins", "c ends"]


class Builder:
    """A far target that moves files as a test wants it."""

    far = True

    def __init__(self) -> None:
        self.moving: Callable[[], AbstractContextManager[object]] | None = None

    def move_in(self, moving: Callable[[], AbstractContextManager[object]]) -> None:
        self.moving = moving

    def info(self) -> TargetInfo:
        return TargetInfo("big")

    def submit(self, job: Job) -> Future[JobResult]:
        future: Future[JobResult] = Future()
        future.set_result(JobResult(JobStatus.OK, "there"))
        return future

    def cancel(self) -> None:
        """Nothing runs."""

    def close(self) -> None:
        """Nothing is held."""


class Measurer(Builder):
    """A target of this machine, whose jobs end when the test says so."""

    far = False

    def __init__(self) -> None:
        super().__init__()
        self.future: Future[JobResult] = Future()
        self.fails = False

    def submit(self, job: Job) -> Future[JobResult]:
        if self.fails:
            raise RuntimeError("it is closed")
        return self.future


def test_a_far_builder_moves_nothing_while_this_machine_measures() -> None:
    build, measure = Builder(), Measurer()
    target = SplitTarget(build, measure)
    assert is_far(build)
    assert build.moving is not None
    assert isinstance(CALL.task, Call)
    assert isinstance(MEASURE.task, Measure)
    assert target.submit(CALL).result(WITHIN_S).value == "there"
    future = target.submit(MEASURE)
    with ThreadPoolExecutor(1) as pool:
        moved = threading.Event()

        def move() -> None:
            assert build.moving is not None
            with build.moving():
                moved.set()

        moving = pool.submit(move)
        assert not moved.wait(0.1)
        measure.future.set_result(JobResult(JobStatus.OK))
        moving.result(WITHIN_S)
    assert future.done()
    measure.fails = True
    with pytest.raises(RuntimeError, match="it is closed"):
        target.submit(MEASURE)
    with build.moving():
        """A measurement that did not begin holds nothing up."""


def test_a_builder_for_another_far_target_moves_when_it_wants() -> None:
    build, measure = Builder(), Builder()
    SplitTarget(build, measure)
    assert build.moving is None
