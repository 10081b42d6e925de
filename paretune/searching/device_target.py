"""One device of a study with several: it measures there, and builds in the pool of all.

The search of a device sees a target whose builds run elsewhere; who uses which machine is decided
below it (`paretune.core.machines`). A job that waits for its machine has a future like any other.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Protocol, runtime_checkable

from paretune.core.errors import ConnectionLostError, TargetLostError
from paretune.core.interference import Watch, watching
from paretune.core.job import Job, JobResult, JobStatus
from paretune.core.machine_lock import GivenUpError
from paretune.core.machines import Machines, Work
from paretune.core.target import Interleaves, Moves, Target, is_far
from paretune.search.lost_targets import LOST_WAITS_S, resumable, retried, submitted
from paretune.targets.interleave import Participant, interleave
from paretune.targets.pool import BuildPool
from paretune.targets.split import MEASURED, SplitTarget

_ENDS_WITHIN_S = 30.0
"""How long is waited for jobs that were cancelled."""
_LOOKS_EVERY_S = 0.2


@runtime_checkable
class _Begins(Protocol):
    """A target that starts an interleaved job (ours do)."""

    def begin(self, job: Job, stack: ExitStack) -> Participant:
        """Start a job."""


@dataclass(eq=False)
class _Pending:
    """A job that was submitted: it waits for its machine, or runs."""

    cancelled: bool = False
    target: Target | None = None
    future: Future[JobResult] | None = None


class DeviceTarget(SplitTarget):
    """Measures on one device, and builds in a pool.

    Args:
        name: The device's name.
        pool: Builds.
        measure: Measures; it stays the caller's to close.
        machines: Grants the machines.
        here: The machine that the search itself runs on.
        note: Takes a line for the user.
    """

    def __init__(
        self,
        name: str,
        pool: BuildPool,
        measure: Target,
        machines: Machines,
        here: str,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        super().__init__(pool.builders[0].target, measure)
        self.name = name
        self._pool = pool
        self._machines = machines
        self._here = here
        self._machine = measure.info().boot_id
        self._note = note
        self._lock = threading.Lock()
        self._pending: set[_Pending] = set()
        self._interrupted = False
        self.builders = tuple(builder.target for builder in pool.builders)
        for builder in pool.builders:
            if isinstance(builder.target, Moves):
                builder.target.move_in(partial(self._moving, builder.name))

    @cached_property
    def builds_apart(self) -> bool:
        """True: builds may be begun at any time; they wait while their machine measures."""
        return True

    @property
    def build_slots(self) -> int:
        """How many builds run at once, those for other devices included."""
        return self._pool.slots

    def submit(self, job: Job) -> Future[JobResult]:
        """Run a job where it belongs, as soon as its machine is free for it.

        The future's exception is a `TargetLostError` if the device stays away.

        Raises:
            KeyboardInterrupt: The whole search was interrupted.
        """
        pending, future = _Pending(), Future[JobResult]()
        future.set_running_or_notify_cancel()
        with self._lock:
            if self._interrupted:
                raise KeyboardInterrupt
            self._pending.add(pending)
        thread = threading.Thread(target=self._run, args=(job, pending, future), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            self._forget(pending)
            raise
        return future

    @contextmanager
    def choosing(self) -> Iterator[None]:
        """Have nothing timed on this machine while the block runs: the search itself computes.

        Raises:
            KeyboardInterrupt: The whole search was interrupted.
        """
        with ExitStack() as stack:
            try:
                use = self._machines.use(
                    self._here, self.name, Work.CHOOSE, given_up=lambda: self._interrupted
                )
                stack.enter_context(use)
            except GivenUpError:
                raise KeyboardInterrupt from None
            yield

    def cancel(self) -> None:
        """End the jobs of this device; those of others go on."""
        with self._lock:
            pending = list(self._pending)
            for each in pending:
                each.cancelled = True
        for each in pending:
            _cancel(each)
        self._machines.look_again()
        self._pool.look_again()

    def interrupt(self) -> None:
        """End the jobs of this device, and let none begin any more."""
        with self._lock:
            self._interrupted = True
        self.cancel()

    def close(self) -> None:
        """End the jobs of this device."""
        self.interrupt()

    @contextmanager
    def _moving(self, builder: str) -> Iterator[None]:
        """Have nothing timed on this machine while files move to a builder, or back."""
        with self._machines.use(self._here, builder, Work.MOVE):
            yield

    def _run(self, job: Job, pending: _Pending, future: Future[JobResult]) -> None:
        try:
            if job.kind in MEASURED:
                result = self._measured(job, pending)
            elif job.kind == "build":
                result = self._built(job, pending)
            else:  # a check before the search, when nothing is measured yet
                running = self.build.submit(job)
                self._begun(pending, self.build, running)
                result = running.result()
        except GivenUpError:
            result = JobResult(JobStatus.CANCELLED, None, "it was cancelled")
        except BaseException as error:  # handed to whoever waits for the future
            self._forget(pending)
            future.set_exception(error)
            return
        self._forget(pending)
        future.set_result(result)

    def _built(self, job: Job, pending: _Pending) -> JobResult:
        def begun(target: Target, future: Future[JobResult]) -> None:
            self._begun(pending, target, future)

        def run() -> JobResult:
            result = self._pool.run(job, self.name, lambda: pending.cancelled, begun)
            if result.lost is not None and not isinstance(result.lost, ConnectionLostError):
                raise result.lost
            return result

        try:
            return retried(run, LOST_WAITS_S, lambda seconds: _pause(seconds, pending), self._note)
        except TargetLostError as error:
            raise resumable(error) from error

    def _measured(self, job: Job, pending: _Pending) -> JobResult:
        def run() -> JobResult:  # while the device is waited for, others may use its machine
            with self._alone(job.task.name, lambda: pending.cancelled) as (waited, watch):
                future = submitted(self.measure, job)
                self._begun(pending, self.measure, future)
                result = future.result()
                seen = None if watch is None else watch.seen
            return replace(
                result, waited=waited + result.waited, interference=result.interference or seen
            )

        try:
            return retried(run, LOST_WAITS_S, lambda seconds: _pause(seconds, pending), self._note)
        except TargetLostError as error:
            raise resumable(error) from error

    def _interleave(
        self, jobs: Sequence[Job], order: random.Random, seconds: float | None = None
    ) -> list[JobResult]:
        """Run `Measure` jobs interleaved; nothing else runs on the machine.

        Raises:
            TurnsEndedError: A job ended before it had its turns.
            TargetLostError: The device cannot be reached any more.
            TimeoutError: More than `seconds` were needed.
            KeyboardInterrupt: The whole search was interrupted.
        """
        end = None if seconds is None else time.monotonic() + seconds
        begun: list[_Pending] = []

        def begin(job: Job, stack: ExitStack) -> Participant:
            assert isinstance(self.measure, _Begins)
            seat, pending = self.measure.begin(job, stack), _Pending()
            with self._lock:
                self._pending.add(pending)
            begun.append(pending)
            self._begun(pending, self.measure, seat.future)
            return seat

        try:
            with self._alone("finalists", lambda: self._interrupted, seconds) as (_, watch):
                left = None if end is None else max(0.0, end - time.monotonic())
                if isinstance(self.measure, _Begins):
                    try:
                        results = interleave(begin, jobs, order, left)
                    finally:
                        _end_all(begun)  # before another device measures here
                else:
                    assert isinstance(self.measure, Interleaves)
                    try:
                        results = self.measure.interleave(jobs, order, left)
                    except TimeoutError:
                        self.measure.cancel()  # before another device measures here
                        raise
                seen = None if watch is None else watch.seen
        except GivenUpError:
            raise KeyboardInterrupt from None
        finally:
            for pending in begun:
                self._forget(pending)
        return [replace(each, interference=each.interference or seen) for each in results]

    @contextmanager
    def _alone(
        self, what: str, given_up: Callable[[], bool], seconds: float | None = None
    ) -> Iterator[tuple[float, Watch | None]]:
        """Have the device's machine alone; of this one also watch what other programs do."""
        with ExitStack() as stack:
            waited = stack.enter_context(
                self._machines.use(
                    self._machine,
                    self.name,
                    Work.MEASURE,
                    what,
                    seconds=seconds,
                    given_up=given_up,
                )
            )
            watch = None if is_far(self.measure) else stack.enter_context(watching())
            yield waited, watch

    def _begun(self, pending: _Pending, target: Target, future: Future[JobResult]) -> None:
        with self._lock:
            pending.target, pending.future = target, future
            cancelled = pending.cancelled or self._interrupted
        if cancelled:
            _cancel(pending)

    def _forget(self, pending: _Pending) -> None:
        with self._lock:
            self._pending.discard(pending)


def _pause(seconds: float, pending: _Pending) -> None:
    """Wait before a lost device is tried again.

    Raises:
        GivenUpError: The job was cancelled meanwhile.
    """
    while seconds > 0:
        if pending.cancelled:
            raise GivenUpError
        time.sleep(min(seconds, _LOOKS_EVERY_S))
        seconds -= _LOOKS_EVERY_S


def _cancel(pending: _Pending) -> None:
    if pending.target is None or pending.future is None:
        return
    try:
        pending.target.cancel(pending.future)  # type: ignore[call-arg]  # ours take it
    except TypeError:
        pending.target.cancel()


def _end_all(begun: Sequence[_Pending]) -> None:
    """End interleaved jobs that still run."""
    futures = [each.future for each in begun if each.future is not None]
    for each in begun:
        if each.future is not None and not each.future.done():
            _cancel(each)
    wait(futures, _ENDS_WITHIN_S)
