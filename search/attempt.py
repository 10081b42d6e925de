"""One candidate on its way: check, build, duplicate?, smoke, then rung by rung to its outcome."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from paretune.errors import StateError
from paretune.evaluators.examples import final_bounds
from paretune.evaluators.pooling import pool
from paretune.measurement import Measurement, Rung, by_metric
from paretune.models import Model
from paretune.search.candidate import Candidate
from paretune.search.gates import broken_limit, cautious, dominated, foreseen
from paretune.search.ladder import Look, ladder
from paretune.search.outcome import Outcome, OutcomeKind, StepTime
from paretune.search.workbench import EvaluatorSlot
from paretune.targets.base import Job, JobStatus

if TYPE_CHECKING:
    from paretune.search.engine import Engine


@dataclass(frozen=True)
class Shortcuts:
    """What the engine saves work with; each can be turned off to see what it saves.

    Attributes:
        early_stops: Measure cheaply first, and stop a candidate when a constraint is surely
            broken or it is surely beaten.
        duplicates: Do not measure the same artifact under the same settings twice, and reuse
            its accuracy under other settings.
    """

    early_stops: bool = True
    duplicates: bool = True


PROCESS_S = 1.5
"""Seconds of sampling in each of the processes that measure an evaluator's last rung."""
_BUILDS = 3
"""How often an artifact is built before its store is given up."""


class OutOfTimeError(Exception):
    """The study's time ran out while a job was running."""


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
    ) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.transient = transient
        self.constraint = constraint
        self.duplicate_of = duplicate_of


class Attempt:
    """What one candidate has cost and yielded so far.

    Args:
        engine: The search that it belongs to.
        id: The candidate's number.
        candidate: What is tried.
    """

    def __init__(self, engine: Engine, id: int, candidate: Candidate) -> None:
        self._engine = engine
        self._id = id
        self._candidate = candidate
        self._measured: dict[str, Measurement] = {}
        self._relied_on: dict[str, Measurement] = {}
        self._blocks: dict[int, list[dict[str, Measurement]]] = {}
        self._seconds: list[StepTime] = []
        self._artifact: str | None = None
        self._rung: Rung | None = None
        self._ran_job = False
        self._told_of_others = False

    def run(self) -> Outcome:
        """Go as far as the candidate gets.

        Raises:
            OutOfTimeError: The study's time ran out; there is no outcome.
            KeyboardInterrupt: The user ended it; there is no outcome.
        """
        kind, reason = OutcomeKind.OK, None
        constraint = duplicate_of = None
        transient = False
        try:
            self._go()
        except _Stopped as stopped:
            kind, reason, transient = stopped.kind, stopped.reason, stopped.transient
            constraint, duplicate_of = stopped.constraint, stopped.duplicate_of
        return Outcome(
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
        )

    def _go(self) -> None:
        foresight = self._engine.look(self._candidate)
        if foresight.reason is not None:
            raise _Stopped(OutcomeKind.SKIPPED, foresight.reason)
        self._log = self._engine.recorder.begin(self._id, self._candidate) / "worker.log"
        built = self._build()
        self._refuse_duplicate(built)
        with self._engine.workbench.packaged(built, self._candidate.runtime) as package:
            self._smoke(package)
            looks = ladder(
                self._engine.evaluators, early_stops=self._engine.shortcuts.early_stops
            )  # fmt: skip
            for look in looks:
                last = look.rung == look.slot.rungs[-1]
                if not (last and self._by_example(package, look.slot, look.rung)):
                    self._measure(package, look)
                self._rung = look.rung
                if look != looks[-1]:
                    self._stop_early()

    def _build(self) -> Model:
        for _ in range(_BUILDS):
            value = self._job(self._engine.workbench.build(self._candidate))
            for fault in value["faults"]:
                self._engine.watcher.note(fault)
            steps = [StepTime(step["step"], step["s"], step["cached"]) for step in value["steps"]]
            built = Model.from_json(value["model"])
            fresh = bool(steps) and not steps[-1].cached
            if self._engine.workbench.sound(built, fresh=fresh):
                self._seconds += steps
                self._artifact = built.digest
                return built
            self._engine.watcher.note(
                f"candidate {self._id}: its artifact in the store was damaged; built again"
            )
        raise StateError(
            f"an artifact was damaged {_BUILDS} times as soon as it was built",
            hint="Is the disk of the store failing? Name another place with --store DIR.",
        )

    def _refuse_duplicate(self, built: Model) -> None:
        if not self._engine.shortcuts.duplicates:
            return
        for other in self._engine.recorder.outcomes:
            if (
                other.artifact == built.digest
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
        self._job(self._engine.workbench.smoke(package, self._candidate.runtime))
        self._seconds.append(StepTime("smoke", time.perf_counter() - start, False))
        self._rung = Rung.SMOKE

    def _measure(self, package: Model, look: Look) -> None:
        slot, rung = look.slot, look.rung
        step = f"{slot.name}:{rung.value}"
        known = self._reusable(slot, rung)
        if known is not None:
            self._keep(slot, rung, known)
            self._seconds.append(StepTime(step, 0.0, True))
            return
        names = {spec.name for spec in slot.metrics}
        first = look.process == 0
        # Each process of several is on its own; what takes long by itself only the first measures.
        previous = {name: m for name, m in self._measured.items() if name in names and first}
        job = self._engine.workbench.measure(
            package, self._candidate.runtime, slot, rung, previous,
            PROCESS_S if look.of > 1 else None, block=not first,
        )  # fmt: skip
        start = time.perf_counter()
        self._engine.watcher.timing(slot.on_device)
        try:
            block = self._block(job, slot)
        finally:
            self._engine.watcher.timing(False)
        self._seconds.append(StepTime(step, time.perf_counter() - start, False))
        if slot.processes == 1:
            self._keep(slot, rung, block)
            return
        blocks = self._blocks[slot.index] = [
            *([] if first else self._blocks[slot.index]), block
        ]  # fmt: skip
        floor = self._engine.noise_floor if slot.on_device else None
        # Until all of its processes have run, it is a rough measurement to an early decision.
        self._keep(slot, rung if look.final else Rung.ROUGH, pool(blocks, floor))

    def _by_example(self, package: Model, slot: EvaluatorSlot, rung: Rung) -> bool:
        """Look at more and more examples, until all of them could change nothing.

        Returns:
            True if no more is needed: each constraint on these metrics is surely met, and no
            objective is among them. False if all examples are to be looked at.

        Raises:
            _Stopped: A constraint is surely broken, or another candidate surely better.
        """
        engine = self._engine
        if not engine.shortcuts.early_stops or self._candidate.digest == engine.baseline:
            return False
        share = self._foreseen_share(slot)
        reference = None if share is None else self._reference(share)
        if share is None or reference is None or self._reusable(slot, rung) is not None:
            return False
        seen = self._measured[share].n
        names = {spec.name for spec in slot.metrics}
        while 2 * seen < reference.n:
            seen *= 2
            previous = {name: m for name, m in self._measured.items() if name in names}
            job = engine.workbench.measure(
                package, self._candidate.runtime, slot, rung, previous, examples=seen
            )
            start = time.perf_counter()
            value = self._job(job)
            self._seconds.append(StepTime(f"{slot.name}:part", time.perf_counter() - start, False))
            self._keep(slot, rung, by_metric(value), bounded_only=True)
            self._stop_early()
            if self._surely_met(names):
                return True
        return False

    def _foreseen_share(self, slot: EvaluatorSlot) -> str | None:
        """Return the metric of an evaluator that is a share of examples, if it has one."""
        for spec in slot.metrics:
            m, reference = self._measured.get(spec.name), self._reference(spec.name)
            if m is not None and _is_bounded(m, reference):
                return spec.name
        return None

    def _surely_met(self, names: set[str]) -> bool:
        """Return whether these metrics are in constraints only, and all of those surely hold."""
        engine = self._engine
        if any(objective.metric in names for objective in engine.objectives):
            return False
        limits = [limit for limit in engine.standing().limits if limit.metric in names]
        if not all(_is_bounded(self._measured[x.metric], self._reference(x.metric))
                   for x in limits):  # fmt: skip
            return False
        known = [self._relied_on[limit.metric] for limit in limits]
        return bool(limits) and all(
            limit.holds(m.low) and limit.holds(m.high)
            for limit, m in zip(limits, known, strict=True)
        )

    def _block(self, job: Job, slot: EvaluatorSlot) -> dict[str, Measurement]:
        """Measure in one process; once more if others took its cores meanwhile."""
        if not slot.on_device:
            return by_metric(self._job(job))
        engine, hit = self._engine, False
        for attempt in range(1 + engine.measure_again):
            with engine.watching() as watch:
                value = self._job(job)
            threads = self._candidate.runtime.threads
            hit = watch.seen.was_hit(threads, engine.cores)
            if not hit:
                break
            if attempt < engine.measure_again and not self._told_of_others:
                self._told_of_others = True  # on a busy machine each of its processes is hit
                engine.watcher.note(
                    f"candidate {self._id}: {watch.seen} while {slot.name} was measured; "
                    "measured again, like whatever else of it is hit"
                )
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
            known = {spec.name: measured[spec.name] for spec in slot.metrics
                     if spec.name in measured}  # fmt: skip
            # An evaluator that went further there replaced this rung's numbers: better still.
            return known
        return None

    def _keep(
        self,
        slot: EvaluatorSlot,
        rung: Rung,
        measured: Mapping[str, Measurement],
        *,
        bounded_only: bool = False,
    ) -> None:
        """Take over what was measured.

        Args:
            slot: By which evaluator.
            rung: How much was measured.
            measured: By metric.
            bounded_only: It is one look of many: decide by metrics whose bounds hold at every look.
        """
        specs = {spec.name: spec for spec in slot.metrics}
        for name, m in measured.items():
            self._measured[name] = m
            reference = self._reference(name)
            if bounded_only and not _is_bounded(m, reference):
                continue
            sure = cautious(m, specs.get(name), rung, self._engine.slack)
            self._relied_on[name] = foreseen(sure, reference)

    def _reference(self, metric: str) -> Measurement | None:
        """Return the baseline's measurement on every example; None if it did not come so far."""
        base = self._engine.baseline_outcome()
        if base is None or base.kind is not OutcomeKind.OK:
            return None
        return (base.measurements or {}).get(metric)

    def _stop_early(self) -> None:
        """End here if a constraint is surely broken or another candidate surely better.

        The baseline goes on whatever it shows: others are measured against it.
        """
        engine = self._engine
        if not engine.shortcuts.early_stops or self._candidate.digest == engine.baseline:
            return
        standing = engine.standing()
        stop = broken_limit(self._relied_on, standing.limits)
        if stop is None and all(o.metric in self._relied_on for o in engine.objectives):
            by_id = {o.id: o.measurements or {} for o in engine.recorder.outcomes}
            others = {
                id: {name: foreseen(m, self._reference(name)) for name, m in by_id[id].items()}
                for id in standing.feasible
            }
            stop = dominated(self._relied_on, others, engine.objectives)
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
        raise _Stopped(OutcomeKind(result.status.value), reason, transient=result.transient)


def _is_bounded(measured: Measurement, reference: Measurement | None) -> bool:
    """Return whether what all examples will give is bounded, however often one looks."""
    return reference is not None and final_bounds(measured, reference) is not None
