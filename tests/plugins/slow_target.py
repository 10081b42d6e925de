"""A target whose jobs end when a test says so."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack

from paretune.core.device import TargetInfo
from paretune.core.job import Job, JobResult, JobStatus
from paretune.targets.interleave import Word


class _Seat:
    """An interleaved job with one turn."""

    def __init__(self, future: Future[JobResult]) -> None:
        self.future = future
        self._words = [Word.READY, Word.DONE]

    def hear(self, seconds: float) -> Word | None:
        return self._words.pop(0)

    def go(self) -> None:
        if not self._words and not self.future.done():
            self.future.set_result(JobResult(JobStatus.OK))


class SlowTarget:
    """Notes what it is given.

    Args:
        name: Its name.
        machine: The machine that it is on.

    Attributes:
        running: The jobs that have begun and have not ended.
        began: Set when one begins.
        closed: How often it was closed.
    """

    def __init__(self, name: str, machine: str = "one") -> None:
        self.name, self.machine = name, machine
        self.running: list[tuple[Job, Future[JobResult]]] = []
        self.jobs: list[Job] = []
        self.began = threading.Condition()
        self.closed = 0

    def info(self) -> TargetInfo:
        return TargetInfo(self.name, boot_id=self.machine, memory_free=10**9)

    def submit(self, job: Job) -> Future[JobResult]:
        future: Future[JobResult] = Future()
        with self.began:
            self.running.append((job, future))
            self.jobs.append(job)
            self.began.notify_all()
        return future

    def begin(self, job: Job, stack: ExitStack) -> _Seat:
        return _Seat(self.submit(job))

    def interleave(
        self, jobs: Sequence[Job], order: random.Random, seconds: float | None = None
    ) -> list[JobResult]:
        raise AssertionError("what has `begin` is interleaved by whoever knows the machine")

    def started(self, count: int) -> None:
        """Wait until so many jobs have begun, ended ones included."""
        with self.began:
            assert self.began.wait_for(lambda: len(self.jobs) >= count, 300), self.jobs

    def end(self, number: int = 0) -> None:
        """End a running job well."""
        self.running.pop(number)[1].set_result(JobResult(JobStatus.OK, self.name))

    def cancel(self, future: Future[JobResult] | None = None) -> None:
        for each in [f for _, f in self.running if future in (None, f)]:
            self.running = [(j, f) for j, f in self.running if f is not each]
            if not each.done():
                each.set_result(JobResult(JobStatus.CANCELLED))

    def close(self) -> None:
        self.closed += 1
