"""A far builder moves nothing while this machine measures."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from paretune.core.device import TargetInfo
from paretune.core.job import Call, Job, JobResult, JobStatus, Measure
from paretune.core.target import is_far
from paretune.targets.split import SplitTarget
from tests.targets.far_sides import CALL, MEASURE

WITHIN_S = 120.0


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
