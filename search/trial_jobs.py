"""The jobs of one trial: transient failures are tried again, and each failure is an outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from paretune.core.interference import Interference, Watch
from paretune.core.job import Job, JobResult, JobStatus
from paretune.core.measurement import Measurement, by_metric
from paretune.core.result import OutcomeKind, StepTime
from paretune.search.jobs import EvaluatorSlot
from paretune.search.run import Running
from paretune.search.throttling import Throttling, causes, repeated
from paretune.search.watcher import Watcher


class StoppedError(Exception):
    """Ends a trial with an outcome other than ``ok``.

    Attributes:
        kind: The outcome.
        fields: Further fields of the `paretune.core.result.TrialResult`.
    """

    def __init__(self, kind: OutcomeKind, reason: str | None, **fields: Any) -> None:
        super().__init__(reason)
        self.kind = kind
        self.fields: dict[str, Any] = {"reason": reason, **fields}


class JobServices(Protocol):
    """What the jobs of a trial need of a search (`paretune.search.run.SearchRun` describes it)."""

    watcher: Watcher
    retry_waits_s: tuple[float, ...]
    job_time_s: float | None
    job_memory: int | None
    measure_again: int
    others_stay: bool
    throttling: Throttling

    @property
    def watching(self) -> Callable[[], AbstractContextManager[Watch]]:
        """Observes the CPU time used by other processes."""

    @property
    def clock(self) -> Callable[[], float]:
        """Gives seconds."""

    @property
    def cores(self) -> int:
        """Physical cores of the device."""

    def begin(self, job: Job) -> Running:
        """Submit a job."""

    def finish(self, running: Running) -> JobResult:
        """Wait for a job's result."""

    def pause(self, seconds: float) -> None:
        """Wait before a job is tried again."""


@dataclass
class TrialJobs:
    """Runs the jobs of one trial.

    Attributes:
        search: What runs and limits them.
        id: The trial's number.
        log: File that their output is appended to.
        seconds: What each step cost; failures are added here.
        ran: Whether any job was submitted.
        waited: Seconds in which jobs waited for their machine.
    """

    search: JobServices
    id: int
    log: Path
    seconds: list[StepTime]
    ran: bool = False
    waited: float = 0.0
    _reported: Interference | None = None
    _noted: set[str] = field(default_factory=set)

    def begin(self, job: Job) -> Running:
        """Submit a job, whose value is asked for later (see `value`)."""
        self.ran = True
        return self.search.begin(replace(job, log=self.log))

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Note what a step takes, if it succeeds; not while its machine was in use otherwise."""
        start, waited = self.search.clock(), self.waited
        yield
        passed = self.search.clock() - start
        self.seconds.append(StepTime(step, max(0.0, passed - (self.waited - waited)), False))

    def value(self, job: Job, running: Running | None = None) -> Any:
        """Run a job to its value; a transient failure is tried again.

        Args:
            job: What runs.
            running: The job, if it was submitted before.

        Raises:
            StoppedError: It failed for a cause of its own, or too often.
        """
        waits = self.search.retry_waits_s
        for number, wait in enumerate((*waits, None), start=1):
            result = self.search.finish(running or self.begin(job))
            running = None
            self.waited += result.waited
            if result.status is JobStatus.CANCELLED:
                raise KeyboardInterrupt
            if result.status is JobStatus.OK:
                self._reported = result.interference
                return result.value
            self.seconds.append(StepTime(f"{job.kind}:{result.status}", result.seconds, False))
            if not result.transient or wait is None:
                break
            self.search.watcher.note(
                f"candidate {self.id}: {job.kind} {result.status}: {result.reason}; "
                f"tried again in {wait:g} s ({number} of {len(waits)})"
            )
            self.search.pause(wait)
        reason = result.reason
        if result.transient:
            reason = f"{reason} (tried {number} times; once more when the search goes on)"
        raise StoppedError(
            OutcomeKind(result.status.value),
            reason,
            transient=result.transient,
            limit=self._limit_met(result),
        )

    def measured(self, job: Job, slot: EvaluatorSlot, threads: int) -> dict[str, Measurement]:
        """Measure in one process; again if others used its cores, or the device was throttled.

        If it was so both times, measurements are made once until one of them is undisturbed: a
        program that computes all the time, or a device that is always throttled, would otherwise
        double the time of each measurement.

        Args:
            job: Measures.
            slot: The evaluator.
            threads: Threads that it uses.
        """
        if not slot.on_device:
            return by_metric(self.value(job))
        search = self.search
        hits: list[bool] = []
        throttled: list[str] = []
        while True:
            with search.watching() as watch:
                found = by_metric(self.value(job))
            seen = self._reported or watch.seen  # where it ran, if that is another machine
            hits.append(seen.was_hit(threads, search.cores))
            throttled.append(causes(found.values()))
            busy = hits[-1] and not search.others_stay
            hot = bool(throttled[-1]) and not search.throttling.stays
            if len(hits) > search.measure_again or not (busy or hot):
                break
            if busy:
                self._note_once(
                    "others",
                    f"{seen} while {slot.name} was measured; "
                    "measured again, like whatever else of it is hit",
                )
            if hot:
                cool_s = search.throttling.cool_s
                self._note_once(
                    "throttling",
                    f"the device was throttled ({throttled[-1]}) while {slot.name} was measured; "
                    f"measured again {cool_s:g} s later, like whatever else of it is",
                )
                search.pause(cool_s)
        if len(hits) > 1 and all(hits):
            search.watcher.note(
                f"candidate {self.id}: {seen} the second time, too; from now on what is hit "
                "is measured once, and marked, until something is not"
            )
        if len(hits) > 1 and all(throttled):
            search.watcher.note(
                f"candidate {self.id}: the device was throttled the second time, too "
                f"({throttled[-1]}); from now on throttled measurements are made once, and "
                "marked, until one is not throttled"
            )
        search.others_stay, search.throttling.stays = all(hits), all(throttled)
        if any(throttled[:-1]):
            found = repeated(found)
        return seen.noted(found) if hits[-1] else found

    def _note_once(self, cause: str, text: str) -> None:
        """Note that something is measured again: on a busy machine each process is affected."""
        if cause not in self._noted:
            self._noted.add(cause)
            self.search.watcher.note(f"candidate {self.id}: {text}")

    def _limit_met(self, result: JobResult) -> Mapping[str, float] | None:
        """Return the limit that ended a job, so that a larger one lets it be tried again."""
        if result.status is JobStatus.TIMEOUT:
            seconds = result.limits.seconds or self.search.job_time_s
            return None if seconds is None else {"seconds": seconds}
        if result.status is JobStatus.OUT_OF_MEMORY:
            memory = result.limits.memory or self.search.job_memory
            return None if memory is None else {"memory": memory}
        return None
