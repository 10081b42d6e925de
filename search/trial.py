"""One candidate on its way: check, build, duplicate?, smoke, then rung by rung to its outcome."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from paretune.core import fidelity
from paretune.core.candidate import Candidate
from paretune.core.errors import StateError
from paretune.core.job import Job, JobResult, JobStatus
from paretune.core.measurement import Measurement, Rung, by_metric
from paretune.core.model import Model
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.search.early_stops import EarlyStops
from paretune.search.evidence import ENOUGH_PROCESSES
from paretune.search.jobs import EvaluatorSlot
from paretune.search.run import OutOfTimeError
from paretune.search.schedule import MeasurementStep, measurement_steps
from paretune.stats.pooling import pool

if TYPE_CHECKING:
    from paretune.search.run import SearchRun


PROCESS_S = 1.5
"""Seconds of sampling in each of the processes that measure an evaluator's last rung."""
_BUILDS = 3
"""How often an artifact is built before its store is given up."""


class _Stopped(Exception):
    """Ends an attempt with an outcome other than ``ok``."""

    def __init__(
        self,
        kind: OutcomeKind,
        reason: str | None,
        *,
        constraint: str | None = None,
        duplicate_of: int | None = None,
        transient: bool = False,
        limit: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(reason)
        self.limit = limit
        self.kind = kind
        self.reason = reason
        self.transient = transient
        self.constraint = constraint
        self.duplicate_of = duplicate_of


class TrialRunner:
    """What one candidate has cost and yielded so far.

    Args:
        engine: The search that it belongs to.
        id: The candidate's number.
        candidate: What is tried.
    """

    def __init__(self, engine: SearchRun, id: int, candidate: Candidate) -> None:
        self._engine = engine
        self._id = id
        self._candidate = candidate
        self._stops = EarlyStops(engine, candidate)
        self._measured: dict[str, Measurement] = {}
        self._blocks: dict[int, list[dict[str, Measurement]]] = {}
        self._seconds: list[StepTime] = []
        self._artifact: str | None = None
        self._rung: Rung | None = None
        self._ran_job = False
        self._told_of_others = False

    def run(self) -> TrialResult:
        """Go as far as the candidate gets.

        Raises:
            OutOfTimeError: The study's time ran out; there is no outcome.
            KeyboardInterrupt: The user ended it; there is no outcome.
        """
        kind, reason = OutcomeKind.OK, None
        constraint = duplicate_of = None
        transient, limit = False, None
        try:
            self._go()
        except _Stopped as stopped:
            limit = stopped.limit
            kind, reason, transient = stopped.kind, stopped.reason, stopped.transient
            constraint, duplicate_of = stopped.constraint, stopped.duplicate_of
        return TrialResult(
            id=self._id,
            candidate=self._candidate,
            kind=kind,
            rung=self._rung,
            reason=reason,
            constraint=constraint,
            duplicate_of=duplicate_of,
            measurements=self._measured,
            artifact=self._artifact,
            seconds=tuple(self._seconds),
            ran_job=self._ran_job,
            transient=transient,
            limit=limit,
        )

    def _go(self) -> None:
        foresight = self._engine.look(self._candidate)
        if foresight.reason is not None:
            raise _Stopped(OutcomeKind.SKIPPED, foresight.reason)
        self._log = self._engine.recorder.begin(self._id, self._candidate) / "worker.log"
        built = self._build()
        self._refuse_duplicate(built)
        if not self._engine.can_measure(self._candidate):
            raise OutOfTimeError
        with self._engine.job_factory.packaged(built, self._candidate.runtime) as package:
            self._smoke(package)
            self._stop_early()  # by what the build is to its source
            looks = measurement_steps(
                self._engine.evaluators, early_stops=self._engine.shortcuts.early_stops
            )
            for look, after in zip(looks, (*looks[1:], None), strict=True):
                last = look.rung == look.slot.rungs[-1]
                if not (last and self._by_example(package, look.slot, look.rung)):
                    self._measure(package, look)
                self._rung = look.rung
                if after is None:
                    break
                self._stop_early()
                if after.rung != look.rung:
                    self._look_again(package, look.rung)

    def _build(self) -> Model:
        for _ in range(_BUILDS):
            value = self._job(self._engine.job_factory.build(self._candidate))
            for fault in value["faults"]:
                self._engine.watcher.note(fault)
            steps = [StepTime(step["step"], step["s"], step["cached"]) for step in value["steps"]]
            built = Model.from_json(value["model"])
            fresh = bool(steps) and not steps[-1].cached
            if self._engine.job_factory.is_intact(built, fresh=fresh):
                self._seconds += steps
                self._artifact = built.digest
                self._compared(value.get("fidelity"))
                return built
            self._engine.watcher.note(
                f"candidate {self._id}: its artifact in the store was damaged; built again"
            )
        raise StateError(
            f"an artifact was damaged {_BUILDS} times as soon as it was built",
            hint="Is the disk of the store failing? Name another place with --store DIR.",
        )

    def _compared(self, told: Mapping[str, Any] | None) -> None:
        """Take over what the build is to its source, unless an evaluator yields those metrics."""
        declared = {spec.name for slot in self._engine.evaluators for spec in slot.metrics}
        found = fidelity.measurements(told)
        self._measured |= {name: m for name, m in found.items() if name not in declared}

    def _refuse_duplicate(self, built: Model) -> None:
        if not self._engine.shortcuts.duplicates:
            return
        for other in self._engine.recorder.outcomes:
            if (
                other.artifact == built.digest
                and other.id != self._id  # an earlier try of this one
                and other.candidate.runtime == self._candidate.runtime
                and other.kind is not OutcomeKind.DUPLICATE
            ):
                raise _Stopped(
                    OutcomeKind.DUPLICATE,
                    f"same artifact and settings as candidate {other.id}",
                    duplicate_of=other.id,
                )

    def _smoke(self, package: Model) -> None:
        start = time.perf_counter()
        self._job(self._engine.job_factory.smoke(package, self._candidate.runtime))
        self._seconds.append(StepTime("smoke", time.perf_counter() - start, False))
        self._rung = Rung.SMOKE

    def _measure(self, package: Model, look: MeasurementStep) -> None:
        slot, rung = look.slot, look.rung
        step = f"{slot.name}:{rung.value}"
        known = self._reusable(slot, rung)
        if known is not None:
            self._keep(known, early=rung != slot.rungs[-1])
            self._seconds.append(StepTime(step, 0.0, True))
            return
        names = {spec.name for spec in slot.metrics}
        first = look.process == 0
        # Each process of several is on its own; what takes long by itself only the first measures.
        previous = {name: m for name, m in self._measured.items() if name in names and first}
        job = self._engine.job_factory.measure(
            package,
            self._candidate.runtime,
            slot,
            rung,
            previous,
            PROCESS_S if look.of > 1 and rung == slot.rungs[-1] else None,
            block=not first,
        )
        start = time.perf_counter()
        self._engine.watcher.timing(slot.on_device)
        try:
            block = self._block(job, slot)
        finally:
            self._engine.watcher.timing(False)
        self._seconds.append(StepTime(step, time.perf_counter() - start, False))
        blocks = self._blocks[slot.index] = [*([] if first else self._blocks[slot.index]), block]
        if len(blocks) > 1 or slot.processes > 1:
            floor = self._engine.noise_floor if slot.on_device else None
            # What no device matters to is the same in each process, and not pooled.
            fixed = {spec.name for spec in slot.metrics if not spec.device}
            spreads = self._engine.spreads() if look.final else None
            block = {
                **pool(blocks, floor, spreads=spreads),
                **{name: m for name, m in blocks[0].items() if name in fixed},
            }
        self._keep(block, early=not look.final)

    def _look_again(self, package: Model, rung: Rung) -> None:
        """At a rung's end: look at speeds again that a stop would rest on, in new processes.

        One process that met a slow spell of the machine is no reason to stop. Each look comes after
        the rung's other measurements, and the stop stands only if all processes agree.

        Raises:
            _Stopped: They do.
        """
        for _ in range(1, ENOUGH_PROCESSES):  # a process may yield no value: no more than these
            for slot in self._stops.doubtful(self._measured, rung):
                # As process 1 of 2: it is on its own, and pooled with what was seen before.
                self._measure(package, MeasurementStep(rung, slot, 1, 2))
            self._stop_early()

    def _by_example(self, package: Model, slot: EvaluatorSlot, rung: Rung) -> bool:
        """Look at more and more examples, until all of them could change nothing.

        Returns:
            True if no more is needed: each constraint on these metrics is surely met, and no
            objective is among them. False if all examples are to be looked at.

        Raises:
            _Stopped: A constraint is surely broken, or another candidate surely better.
        """
        engine = self._engine
        if self._stops.off:
            return False
        share = self._stops.bounded_share(self._measured, slot)
        reference = None if share is None else self._stops.reference(share)
        if share is None or reference is None or self._reusable(slot, rung) is not None:
            return False
        seen = self._measured[share].n
        names = {spec.name for spec in slot.metrics}
        while 2 * seen < reference.n:
            seen *= 2
            previous = {name: m for name, m in self._measured.items() if name in names}
            job = engine.job_factory.measure(
                package, self._candidate.runtime, slot, rung, previous, examples=seen
            )
            start = time.perf_counter()
            value = self._job(job)
            self._seconds.append(StepTime(f"{slot.name}:part", time.perf_counter() - start, False))
            self._keep(by_metric(value), early=True)
            self._stop_early()
            if self._stops.surely_met(self._measured, names):
                return True
        return False

    def _block(self, job: Job, slot: EvaluatorSlot) -> dict[str, Measurement]:
        """Measure in one process; once more if others took its cores meanwhile.

        Where they took them both times, what follows is measured once until they let go: a program
        that computes all the while would double what every measurement takes.
        """
        if not slot.on_device:
            return by_metric(self._job(job))
        engine, hit = self._engine, False
        times = 1 if engine.others_stay else 1 + engine.measure_again
        for attempt in range(times):
            with engine.watching() as watch:
                value = self._job(job)
            threads = self._candidate.runtime.threads
            hit = watch.seen.was_hit(threads, engine.cores)
            if not hit:
                break
            if attempt + 1 < times and not self._told_of_others:
                self._told_of_others = True  # on a busy machine each of its processes is hit
                engine.watcher.note(
                    f"candidate {self._id}: {watch.seen} while {slot.name} was measured; "
                    "measured again, like whatever else of it is hit"
                )
        if hit and times > 1:
            engine.watcher.note(
                f"candidate {self._id}: {watch.seen} the second time, too; from now on what is hit "
                "is measured once, and marked, until something is not"
            )
        engine.others_stay = hit
        found = by_metric(value)
        return watch.seen.noted(found) if hit else found

    def _reusable(self, slot: EvaluatorSlot, rung: Rung) -> dict[str, Measurement] | None:
        """Return what another candidate with the same artifact has, if no device matters to it."""
        if slot.on_device or not self._engine.shortcuts.duplicates:
            return None
        provider = self._candidate.runtime.provider
        for other in self._engine.recorder.outcomes:
            if (
                other.artifact != self._artifact
                or other.candidate.runtime.provider != provider
                or not any(s.step == f"{slot.name}:{rung.value}" for s in other.seconds)
            ):
                continue
            measured = other.measurements or {}
            known = {
                spec.name: measured[spec.name] for spec in slot.metrics if spec.name in measured
            }
            # An evaluator that went further there replaced this rung's numbers: better still.
            return known
        return None

    def _keep(self, measured: Mapping[str, Measurement], *, early: bool) -> None:
        """Take over what was measured; `early` if its evaluator has not had its last word."""
        for name, m in measured.items():
            self._measured[name] = m.noting(early=True) if early else m

    def _stop_early(self) -> None:
        """End here if a constraint is surely broken or another candidate surely better."""
        stop = self._stops.stop(self._measured)
        if stop is not None:
            raise _Stopped(stop.kind, stop.reason, constraint=stop.constraint)

    def _job(self, job: Job) -> Any:
        """Run a job to its value; what failed for a cause outside of it is tried again.

        Raises:
            _Stopped: It failed for a cause of its own, or too often.
        """
        self._ran_job = True
        waits = self._engine.retry_waits_s
        for number, wait in enumerate((*waits, None), start=1):
            result = self._engine.submit(replace(job, log=self._log))
            if result.status is JobStatus.CANCELLED:
                raise KeyboardInterrupt
            if result.status is JobStatus.OK:
                return result.value
            self._seconds.append(StepTime(f"{job.kind}:{result.status}", result.seconds, False))
            if not result.transient or wait is None:
                break
            self._engine.watcher.note(
                f"candidate {self._id}: {job.kind} {result.status}: {result.reason}; "
                f"tried again in {wait:g} s ({number} of {len(waits)})"
            )
            self._engine.pause(wait)
        reason = result.reason
        if result.transient:
            reason = f"{reason} (tried {number} times; once more when the search goes on)"
        raise _Stopped(
            OutcomeKind(result.status.value),
            reason,
            transient=result.transient,
            limit=self._limit_met(result),
        )

    def _limit_met(self, result: JobResult) -> dict[str, float] | None:
        """Return the limit that ended a job, so that a larger one lets it be tried again."""
        engine = self._engine
        if result.status is JobStatus.TIMEOUT:
            seconds = result.limits.seconds or engine.job_time_s
            return None if seconds is None else {"seconds": seconds}
        if result.status is JobStatus.OUT_OF_MEMORY:
            memory = result.limits.memory or engine.job_memory
            return None if memory is None else {"memory": memory}
        return None
