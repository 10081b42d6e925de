"""A search under way: what it is made of, where it stands, and how its parts run jobs."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from paretune.core.candidate import Candidate
from paretune.core.errors import InputTouchedError, TargetLostError
from paretune.core.interference import Watch, watching
from paretune.core.job import JOB_MEMORY_SHARE, Job, JobResult, JobStatus, Limits
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, TrialResult
from paretune.core.target import Interleaves, Target, builds_apart, builds_on_hosts
from paretune.search.constraints import Constraint, Objective
from paretune.search.evidence import rough_slack
from paretune.search.jobs import Aside, EvaluatorSlot, JobFactory
from paretune.search.lost_targets import LOST_WAITS_S, RETRY_WAITS_S, resumable, retried, submitted
from paretune.search.outcomes import of_candidate, version
from paretune.search.possible_dominators import PossibleDominators
from paretune.search.prechecks import Foresight
from paretune.search.priors import Prior
from paretune.search.process_spreads import usual
from paretune.search.recorder import Recorder
from paretune.search.running_summary import RunningSummary
from paretune.search.space import Space
from paretune.search.stop_rule import Stopping
from paretune.search.strategies.base import Strategy
from paretune.search.summary import StudySummary
from paretune.search.throttling import Throttling
from paretune.search.watcher import Watcher
from paretune.stats.process_spread import Spread

T = TypeVar("T")


@dataclass(frozen=True)
class Shortcuts:
    """What the engine saves work with; each can be turned off to see what it saves.

    Attributes:
        early_stops: Measure cheaply first, and stop a candidate when its bounds break a constraint
            or it is dominated.
        duplicates: Do not measure the same artifact under the same settings twice, and reuse
            its accuracy under other settings.
        structures: Take the speeds of an artifact of the same structure over (`search/sharing.py`).
        parents: Measure what a candidate is built from before its build (`search/parent_first.py`).
    """

    early_stops: bool = True
    duplicates: bool = True
    structures: bool = True
    parents: bool = True


class OutOfTimeError(Exception):
    """The study's time ran out while a job was running."""


@dataclass(frozen=True)
class Running:
    """A job that was submitted.

    Attributes:
        job: The job, with its limits.
        future: Its result.
    """

    job: Job
    future: Future[JobResult]


@dataclass
class SearchRun:
    """What a search is made of, and where it stands; its parts get this, not the loop.

    Attributes:
        strategy: What to try next; it has received the events of earlier runs.
        target: Where jobs run.
        recorder: Where outcomes go.
        job_factory: Turns steps into jobs, and packages into folders.
        evaluators: In configured order.
        objectives: In order of importance.
        constraints: As configured.
        look: A candidate's prechecks.
        watcher: The display.
        on_outcome: Called after each outcome is durable (results.json, the mirror).
        on_update: Called after each round of the re-measurement is durable.
        baseline: Digest of the baseline candidate.
        prefer: Metric to choose the best by first.
        trials: Most candidates that may run a job, in the whole study; None: no limit.
        time_s: Seconds of the whole study; None: no limit.
        job_time_s: Most seconds of one job.
        job_memory: Most bytes of one job; None: what the target allows.
        shortcuts: What may be saved.
        retry_waits_s: Seconds to wait before each new try of a job that failed for a cause outside
            of it.
        lost_waits_s: Seconds to wait before each new try to reach the target.
        noise_floor: What two processes' medians of the same work differ by on this device, as a
            share; None: it was not measured.
        measure_again: How often a measurement is repeated because other processes used its cores.
        watching: Observes the CPU time used by other processes.
        finals_s: Most seconds of re-measuring the finalists (`search/confirm/topk.py`); 0: none.
        aside: What the pick is measured on at the end (`search/confirm/held_out.py`).
        again: Outcomes that do not stand today: their candidates are tried again.
        space: What may be proposed.
        builds: How many builds may be in flight.
        clock: Gives seconds; all times of the search are read from it. A target that answers from
            recorded figures replaces it by one that it advances (`benchmarks/simulator/`).
        before_measuring: Called before each job that is not a build.
        stopping: Decides whether enough is gained to go on.
        priors: Earlier studies; only the strategy sees them.
        choosing: Entered while the strategy chooses: what is timed on this machine comes first.
        numbers: Gives a new candidate its number; None: the recorder does.
        beyond_trials: Digests of candidates that are measured beyond the trials.
        repeat_pick: How often the pick is built again with other training seeds, after the search
            (`search/repeated_pick.py`): time is kept for it.
        others_stay: Whether other processes used the cores in both of the last two measurements.
        throttling: What is known of the throttling of the device.
        out_of_time: Whether the time, and not the space or the trials, ended the search.
    """

    strategy: Strategy
    target: Target
    recorder: Recorder
    job_factory: JobFactory
    evaluators: Sequence[EvaluatorSlot]
    objectives: Sequence[Objective]
    constraints: Sequence[Constraint]
    look: Callable[[Candidate], Foresight]
    watcher: Watcher
    on_outcome: Callable[[TrialResult, StudySummary], None]
    baseline: str
    prefer: str | None = None
    trials: int | None = None
    time_s: float | None = None
    job_time_s: float | None = None
    job_memory: int | None = None
    shortcuts: Shortcuts = Shortcuts()
    retry_waits_s: tuple[float, ...] = RETRY_WAITS_S
    lost_waits_s: tuple[float, ...] = LOST_WAITS_S
    noise_floor: float | None = None
    measure_again: int = 1
    watching: Callable[[], AbstractContextManager[Watch]] = watching
    finals_s: float = 0.0
    on_update: Callable[[StudySummary], None] = lambda summary: None
    aside: Sequence[Aside] = ()
    again: Sequence[TrialResult] = ()
    space: Space = field(default_factory=lambda: Space(()))
    builds: int = 1
    stopping: Stopping = field(default_factory=Stopping)
    priors: Sequence[Prior] = ()
    clock: Callable[[], float] = time.monotonic
    choosing: Callable[[], AbstractContextManager[object]] = nullcontext
    numbers: Callable[[Candidate], int] | None = None
    beyond_trials: frozenset[str] = frozenset()
    repeat_pick: int = 0
    before_measuring: Callable[[], None] = field(default=lambda: None, init=False)
    others_stay: bool = field(default=False, init=False)
    throttling: Throttling = field(default_factory=Throttling, init=False)
    out_of_time: bool = field(default=False, init=False)
    _derived: tuple[Any, RunningSummary] | None = field(default=None, init=False)
    _spreads: tuple[Any, dict[str, Spread]] | None = field(default=None, init=False)

    def summary(self) -> StudySummary:
        """Return where the study stands now."""
        return self._running_summary.of(self.recorder.outcomes, self.baseline_outcome())

    @property
    def _running_summary(self) -> RunningSummary:
        asked = (tuple(self.objectives), tuple(self.constraints), self.prefer)
        if self._derived is None or self._derived[0] != asked:
            self._derived = (asked, RunningSummary(*asked))
        return self._derived[1]

    def possible_dominators(self) -> dict[int, Mapping[str, Measurement]]:
        """Return the feasible candidates that may dominate another, with their bounds."""
        base = self.baseline_outcome()
        return self._possible_dominators.of(
            self.recorder.outcomes,
            self.summary(),
            base.measurements if base is not None and base.kind is OutcomeKind.OK else None,
        )

    def spreads(self) -> dict[str, Spread]:
        """Return what processes usually differ by in this study, by metric."""
        mark = (version(self.recorder.outcomes), len(self.recorder.outcomes))
        if self._spreads is None or self._spreads[0] != mark:
            self._spreads = (mark, usual(self.recorder.outcomes))
        return self._spreads[1]

    @cached_property
    def _possible_dominators(self) -> PossibleDominators:
        specs = (spec for slot in self.evaluators for spec in slot.metrics)
        return PossibleDominators(self.objectives, specs)

    def baseline_outcome(self) -> TrialResult | None:
        """Return the baseline's outcome, once it is there."""
        return of_candidate(self.recorder.outcomes, self.baseline)

    def new_id(self, candidate: Candidate, taken: Collection[int]) -> int:
        """Return the number of a candidate that had none; `taken` are those in flight."""
        if self.numbers is not None:
            return self.numbers(candidate)
        return self.recorder.next_id(taken)

    def submit(self, job: Job) -> JobResult:
        """Run a job within the job's and the study's limits; again after a transient failure.

        Raises:
            OutOfTimeError: The study's time ran out first.
            InputChangedError: A file that it reads is no longer what was digested.
            TargetLostError: The target cannot be reached any more.
        """
        result = self.finish(self.begin(job))
        for wait in self.retry_waits_s:
            if not result.transient:
                break
            self.pause(wait)
            result = self.finish(self.begin(job))
        return result

    def begin(self, job: Job) -> Running:
        """Submit a job, with the limits that hold for it.

        Raises:
            TargetLostError: The target cannot be reached any more.
            OutOfTimeError: The study's time ran out first.
        """
        if job.kind != "build":
            self.before_measuring()
        job = self._limited(job)
        return Running(job, self._retried(lambda: submitted(self.target, job)))

    def finish(self, running: Running) -> JobResult:
        """Wait for the result of a job.

        Raises:
            OutOfTimeError: The study's time ran out first.
            InputChangedError: A file that it reads is no longer what was digested.
            TargetLostError: The target could not be reached when it was its turn.
        """
        try:
            result = running.future.result(timeout=self.left())
        except FutureTimeout as error:
            raise OutOfTimeError from error
        return self._settled(running.job, result)

    def interleave(self, jobs: Sequence[Job], order: random.Random) -> list[JobResult]:
        """Run jobs side by side, one of them working at a time (`paretune.targets.interleave`).

        Raises:
            TurnsEndedError: One of them ended too early, and not for a transient cause.
            OutOfTimeError: The study's time ran out first.
            InputChangedError: A file that one of them reads is no longer what was digested.
            TargetLostError: The target cannot be reached any more.
        """
        target = self.target
        assert isinstance(target, Interleaves)
        limited = [self._limited(job) for job in jobs]
        try:
            results = self._retried(lambda: target.interleave(limited, order, self.left()))
        except TimeoutError as error:
            raise OutOfTimeError from error
        return [self._settled(job, result) for job, result in zip(limited, results, strict=True)]

    def _retried(self, run: Callable[[], T]) -> T:
        try:
            return retried(run, self.lost_waits_s, self.pause, self.watcher.note)
        except TargetLostError as error:
            raise resumable(error) from error

    def _limited(self, job: Job) -> Job:
        memory = self.job_memory
        if memory is None and job.kind == "build":
            memory = self._memory_of_a_build
        limits = Limits(self.job_time_s, memory)
        refreshed = self.job_factory.refresh(job)
        return replace(refreshed, limits=limits, on_progress=self.watcher.step)

    def _settled(self, job: Job, result: JobResult) -> JobResult:
        """Return what became of a job: nothing, if a file that it reads was written meanwhile.

        Raises:
            InputChangedError: ... and holds something else now.
        """
        try:
            self.job_factory.verify_inputs(job)
        except InputTouchedError as error:
            return JobResult(JobStatus.FAILED, None, str(error), result.seconds, transient=True)
        return result

    @cached_property
    def _memory_of_a_build(self) -> int | None:
        """Bytes of one of several builds on this machine; None: what the target allows."""
        if self.builds == 1 or builds_apart(self.target) or builds_on_hosts(self.target):
            return None
        return int(JOB_MEMORY_SHARE * self.target.info().memory_free / self.builds) or None

    @cached_property
    def cores(self) -> int:
        """Physical cores of the device."""
        return self.target.info().cores

    @property
    def slack(self) -> float:
        """Share by which a rough speed's interval is widened here."""
        return rough_slack(self.noise_floor)

    def pause(self, seconds: float) -> None:
        """Wait before a job is tried again.

        Raises:
            OutOfTimeError: The study's time runs out first.
        """
        left = self.left()
        if left is not None and left <= seconds:
            raise OutOfTimeError
        time.sleep(seconds)

    def left(self) -> float | None:
        """Return the seconds that what runs now may take; None: no limit."""
        return None

    def can_measure(self, candidate: Candidate) -> bool:
        """Return whether a built candidate can be measured in the time that is left."""
        del candidate
        return True

    def has_time(self) -> bool:
        """Return whether any of the study's time is left."""
        return True

    def has_trials(self, in_flight: int = 0) -> bool:
        """Return whether another trial may begin.

        Args:
            in_flight: Trials beside those on record.
        """
        return self.trials is None or self.recorder.trials() + in_flight < self.trials

    def check_baseline(self) -> None:
        """Refuse to continue if a constraint is relative to a metric that the baseline lacks."""
