"""One trial: check, build, duplicate?, smoke, then rung by rung to its outcome or a pause."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from paretune.core import fidelity
from paretune.core.candidate import Candidate
from paretune.core.errors import StateError
from paretune.core.job import BuildResult, Job, JobResult
from paretune.core.measurement import Measurement, Rung, by_metric
from paretune.core.model import Model
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.search.early_stops import EarlyStops
from paretune.search.evidence import ENOUGH_PROCESSES
from paretune.search.example_parts import part_ends
from paretune.search.jobs import EvaluatorSlot
from paretune.search.parent_first import ParentFirst
from paretune.search.pruning import Stop
from paretune.search.run import OutOfTimeError, Running
from paretune.search.schedule import MeasurementStep, measurement_steps
from paretune.search.sharing import Sharing
from paretune.search.strategies.base import Built, Event, Measured
from paretune.search.trial_jobs import StoppedError, TrialJobs
from paretune.search.trial_services import TrialServices
from paretune.search.trial_state import Trial, rung_number
from paretune.stats.pooling import pool

PROCESS_S = 1.5
"""Seconds of sampling in each of the processes that measure an evaluator's last rung."""
_BUILDS = 3
"""How often an artifact is built before its store is given up."""


class TrialRunner:
    """Continues a trial from where it is.

    Args:
        search: What it needs of the search.
        trial: The trial; a new one has nothing but its number and candidate.
        notify: Called with each event but its end.
        log: File that its jobs' output is appended to; None: the trial begins in the recorder,
            which has a folder for it.

    Attributes:
        awaits_build: Whether its parent was measured, and its build may be submitted (`build`).
    """

    def __init__(
        self,
        search: TrialServices,
        trial: Trial,
        notify: Callable[[Event], None] = lambda event: None,
        *,
        log: Path | None = None,
    ) -> None:
        self._search = search
        self._begun = trial
        self._notify = notify
        self._log = log
        self._candidate = trial.candidate
        self._stops = EarlyStops(search, trial.candidate)
        self._sharing = Sharing(search, trial.id, trial.candidate)
        self._parent = ParentFirst(search, trial)
        self._rungs = dict(trial.measured)
        self._measured: dict[str, Measurement] = dict(trial.measurements)
        self._blocks: dict[int, list[dict[str, Measurement]]] = {}
        self._seconds: list[StepTime] = list(trial.seconds)
        self._artifact, self._structure = trial.artifact, trial.structure
        self._model, self._rung = trial.model, trial.rung
        self._jobs: TrialJobs | None = None
        self._running: Running | None = None
        self.awaits_build = False

    @property
    def waited(self) -> bool:
        """Whether one of its jobs waited for its machine, as it was in use."""
        return self._jobs is not None and self._jobs.waited > 0

    @property
    def building(self) -> Future[JobResult] | None:
        """The build that was submitted and whose result was not taken yet."""
        return None if self._running is None else self._running.future

    @property
    def to_build(self) -> bool:
        """Whether more is built than its parent, which is being built or measured."""
        return self.awaits_build or self._parent.prefix is not None

    def build(self) -> None:
        """Submit the build, after the parent was measured."""
        assert self._jobs is not None, "it was started"
        self.awaits_build = False
        self._running = self._jobs.begin(self._search.job_factory.build(self._candidate))

    @property
    def trial(self) -> Trial:
        """The trial as it is now."""
        return replace(
            self._begun,
            artifact=self._artifact,
            measured=dict(self._rungs),
            seconds=tuple(self._seconds),
            model=self._model,
            structure=self._structure,
            parent=self._parent.found,
        )

    def start(self) -> TrialResult | None:
        """Check the candidate, and submit its build, or that of its parent, unless it is built.

        Returns:
            The result if it is ruled out before any job.
        """
        reason = self._search.look(self._candidate).reason
        if reason is not None:
            return self._result(OutcomeKind.SKIPPED, {"reason": reason})
        stop = self._parent.look()
        if stop is not None:
            return self._result(stop.kind, {"reason": stop.reason, "constraint": stop.constraint})
        jobs, factory = self._begin(), self._search.job_factory
        if self._model is None or not factory.is_intact(self._model, fresh=False):
            self._running = jobs.begin(factory.build(self._parent.prefix or self._candidate))
        return None

    def run(self, until: Rung = Rung.FULL) -> TrialResult | None:
        """Continue up to a rung, after `start`.

        Returns:
            The result; None if the trial is paused, as there are rungs above, or `awaits_build`.

        Raises:
            OutOfTimeError: The study's time ran out; there is no outcome.
            KeyboardInterrupt: The user ended it; there is no outcome.
        """
        try:
            if self._parent.prefix is not None:
                self._measure_parent(self._parent.prefix)
                return None
            paused = self._go(until)
        except StoppedError as stopped:
            return self._result(stopped.kind, stopped.fields)
        return None if paused else self._result(OutcomeKind.OK, {})

    def measure_itself(self, slots: Sequence[EvaluatorSlot]) -> TrialResult:
        """Build it and measure some evaluators to their end, whatever other candidates have.

        Args:
            slots: The evaluators.

        Returns:
            The result, with what it had before, unless a job failed.

        Raises:
            OutOfTimeError: The study's time ran out.
            KeyboardInterrupt: The user ended it.
        """
        search, _ = self._search, self._begin()
        try:
            built = self._build()
            with search.job_factory.packaged(built, self._candidate.runtime) as package:
                for step in measurement_steps(slots, early_stops=False):
                    self._measure(package, step, itself=True)
        except StoppedError as stopped:
            return self._result(stopped.kind, stopped.fields)
        return self._result(OutcomeKind.OK, {})

    def _begin(self) -> TrialJobs:
        log = self._log
        if log is None:
            log = self._search.recorder.begin(self._begun.id, self._candidate) / "worker.log"
        self._jobs = TrialJobs(self._search, self._begun.id, log, self._seconds, bool(self._rungs))
        return self._jobs

    def _result(self, kind: OutcomeKind, fields: Mapping[str, Any]) -> TrialResult:
        known = {
            "rung": self._rung,
            "measurements": self._measured,
            "ran_job": self._jobs is not None and self._jobs.ran,
            "parent": self._parent.result(self._measured),
        }
        return self.trial.ended(kind, **known, **fields)

    def _measure_parent(self, prefix: Candidate) -> None:
        """Measure what the trial builds from, and await the build, unless that rules it out."""
        assert self._jobs is not None, "it was started"
        running, self._running = self._running, None
        built: BuildResult = self._value(self._search.job_factory.build(prefix), running)
        for fault in built.faults:
            self._search.watcher.note(fault)
        self._end_by(self._parent.measure(built, self._jobs, self._seconds))
        self.awaits_build = True

    def _go(self, until: Rung) -> bool:
        """Continue up to a rung; returns whether there are rungs above it."""
        built = self._build()
        self._refuse_duplicate(built)
        if not self._search.can_measure(self._candidate):
            raise OutOfTimeError
        steps = [
            step
            for step in measurement_steps(
                self._search.evaluators, early_stops=self._search.shortcuts.early_stops
            )
            if not self._begun.reached(step.rung)
        ]
        with self._search.job_factory.packaged(built, self._candidate.runtime) as package:
            if not self._rungs:
                self._smoke(package)
            self._stop_early()  # the divergence of the build from its source; new candidates
            if Rung.SMOKE not in self._rungs:
                self._finish_rung(Rung.SMOKE)
            for rung, group in groupby(steps, lambda step: step.rung):
                if rung_number(rung) > rung_number(until):
                    if not self.trial.reached(until):  # no evaluator has this rung
                        self._rung = until
                        self._finish_rung(until)
                    return True
                self._measure_rung(package, rung, list(group), last=rung == steps[-1].rung)
        return False

    def _measure_rung(
        self, package: Model, rung: Rung, steps: list[MeasurementStep], *, last: bool
    ) -> None:
        for step in steps:
            ends = step.rung == step.slot.rungs[-1]
            if not (ends and self._by_example(package, step.slot, step.rung)):
                self._measure(package, step)
            self._rung = rung
            if last and step is steps[-1]:
                return
            self._stop_early()
        self._look_again(package, rung)
        self._finish_rung(rung)

    def _finish_rung(self, rung: Rung) -> None:
        self._rungs[rung] = dict(self._measured)
        self._notify(Measured(self.trial))

    def _build(self) -> Model:
        """Return what the candidate builds to, intact."""
        if self._model is not None and self._running is None:
            return self._model
        factory = self._search.job_factory
        for _ in range(_BUILDS):
            running, self._running = self._running, None
            found: BuildResult = self._value(factory.build(self._candidate), running)
            for fault in found.faults:
                self._search.watcher.note(fault)
            fresh = bool(found.steps) and not found.steps[-1].cached
            if factory.is_intact(found.model, fresh=fresh):
                self._take(found)
                return found.model
            self._search.watcher.note(
                f"candidate {self._begun.id}: its artifact in the store was damaged; built again"
            )
        raise StateError(
            f"an artifact was damaged {_BUILDS} times as soon as it was built",
            hint="Is the disk of the store failing? Name another place with --store DIR.",
        )

    def _take(self, build: BuildResult) -> None:
        """Take over a build; what was measured of another one is void."""
        built, steps = build.model, self._parent.joined(build.steps, self._seconds)
        again = self._artifact == built.digest
        if not again:
            self._rungs, self._measured, self._rung = {}, {}, None
            self._begun = self._begun.at(None)
        if not again or not all(step.cached for step in steps):
            self._seconds += steps
        self._artifact, self._model, self._structure = built.digest, built, build.structure
        # The divergence from its source, unless an evaluator yields those metrics.
        declared = {spec.name for slot in self._search.evaluators for spec in slot.metrics}
        found = fidelity.measurements(build.fidelity)
        self._measured |= {name: m for name, m in found.items() if name not in declared}
        if not again:
            self._notify(Built(self.trial))

    def _refuse_duplicate(self, built: Model) -> None:
        other = self._sharing.duplicate_of(built.digest)
        if other is not None:
            raise StoppedError(
                OutcomeKind.DUPLICATE,
                f"same artifact and settings as candidate {other}",
                duplicate_of=other,
            )

    def _smoke(self, package: Model) -> None:
        assert self._jobs is not None, "it was started"
        with self._jobs.timed("smoke"):
            self._value(self._search.job_factory.smoke(package, self._candidate.runtime))
        self._rung = Rung.SMOKE

    def _measure(self, package: Model, look: MeasurementStep, *, itself: bool = False) -> None:
        slot, rung = look.slot, look.rung
        step = f"{slot.name}:{rung.value}"
        known = None if itself else self._known(slot, rung)
        assert self._jobs is not None, "it was started"
        if known is not None:
            self._keep(known, early=rung != slot.rungs[-1])
            self._seconds.append(StepTime(step, 0.0, True))
            return
        names = {spec.name for spec in slot.metrics}
        first = look.process == 0
        # Each process of several is on its own; what takes long by itself only the first measures.
        previous = {
            name: m
            for name, m in self._measured.items()
            if name in names and first and not m.taken_over
        }
        job = self._search.job_factory.measure(
            package,
            self._candidate.runtime,
            slot,
            rung,
            previous,
            PROCESS_S if look.of > 1 and rung == slot.rungs[-1] else None,
            block=not first,
        )
        self._search.watcher.timing(slot.on_device)
        try:
            with self._jobs.timed(step):
                block = self._jobs.measured(job, slot, self._candidate.runtime.threads)
        finally:
            self._search.watcher.timing(False)
        blocks = self._blocks[slot.index] = [
            *([] if first else self._blocks.get(slot.index, [])),
            block,
        ]
        if len(blocks) > 1 or slot.processes > 1:
            floor = self._search.noise_floor if slot.on_device else None
            # What no device matters to is the same in each process, and not pooled.
            fixed = {spec.name for spec in slot.metrics if not spec.device}
            spreads = self._search.spreads() if look.final else None
            block = {
                **pool(blocks, floor, spreads=spreads),
                **{name: m for name, m in blocks[0].items() if name in fixed},
            }
        self._keep(block, early=not look.final)

    def _look_again(self, package: Model, rung: Rung) -> None:
        """At a rung's end: measure again, in new processes, the speeds that a stop would rest on.

        The new processes run after the rung's other measurements, and the stop is made only if all
        of them agree.

        Raises:
            StoppedError: They do.
        """
        for _ in range(ENOUGH_PROCESSES):  # a process may yield no value: no more than these
            for slot in self._stops.doubtful(self._measured, rung):
                # As process 1 of 2: it is on its own, and pooled with what was seen before.
                self._measure(package, MeasurementStep(rung, slot, 1, 2), itself=True)
            self._stop_early()

    def _by_example(self, package: Model, slot: EvaluatorSlot, rung: Rung) -> bool:
        """Measure more and more examples, until the others could change nothing.

        Returns:
            True if no more is needed: the bounds of these metrics meet each constraint, and no
            objective is among them. False if all examples are to be measured.

        Raises:
            StoppedError: The bounds break a constraint, or another candidate dominates it.
        """
        share = None if self._stops.off else self._stops.bounded_share(self._measured, slot)
        reference = None if share is None else self._stops.reference(share)
        if share is None or reference is None or self._known(slot, rung) is not None:
            return False
        assert self._jobs is not None, "it was started"
        names = {spec.name for spec in slot.metrics}
        rough, others = self._measured[share].n, self._search.recorder.outcomes
        for seen in part_ends(slot.name, rough, reference.n, self._seconds, others):
            previous = {name: m for name, m in self._measured.items() if name in names}
            job = self._search.job_factory.measure(
                package, self._candidate.runtime, slot, rung, previous, examples=seen
            )
            with self._jobs.timed(f"{slot.name}:part"):
                value = self._value(job)
            self._keep(by_metric(value), early=True)
            self._stop_early()
            if self._stops.surely_met(self._measured, names):
                return True
        return False

    def _known(self, slot: EvaluatorSlot, rung: Rung) -> dict[str, Measurement] | None:
        """Return what an evaluator need not measure, because another trial did."""
        return self._sharing.known(slot, rung, self._artifact, self._structure, self._measured)

    def _keep(self, measured: Mapping[str, Measurement], *, early: bool) -> None:
        """Take over what was measured; `early` if its evaluator has not had its last word."""
        for name, m in measured.items():
            self._measured[name] = m.noting(early=True) if early else m

    def _value(self, job: Job, running: Running | None = None) -> Any:
        assert self._jobs is not None, "it was started"
        return self._jobs.value(job, running)

    def _stop_early(self) -> None:
        """End here if the bounds break a constraint or another candidate dominates this one."""
        self._end_by(self._stops.stop(self._measured))

    def _end_by(self, stop: Stop | None) -> None:
        if stop is not None:
            raise StoppedError(stop.kind, stop.reason, constraint=stop.constraint)
