"""A trial measures its parent before it builds: once per parent, as far as it pays.

The parent is built first, as a prefix of the recipe. What is measured of it is kept in the study
(`paretune/study/parents.py`) and serves all candidates of the same parent, also after a resume: no
example is measured twice. It is measured as a candidate is: rough first, then on twice as many
examples each time, until the bounds decide (`search/parent_stops.py`), or more does not pay
(`search/parent_costs.py`). Where measurements run on another machine than builds it is not done:
that device need not have what runs the parent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from paretune.core.candidate import Candidate
from paretune.core.job import BuildResult
from paretune.core.measurement import Measurement, Rung, by_metric
from paretune.core.model import Model
from paretune.core.parent import STEP, Parent
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.core.target import Target, builds_apart
from paretune.search.constraints import Constraint, Objective
from paretune.search.jobs import EvaluatorSlot, FindsParents, JobFactory
from paretune.search.outcomes import built_as
from paretune.search.parent_costs import measuring_s, saving_s
from paretune.search.parent_stops import Gains, ParentTest, asks_for_better
from paretune.search.pruning import Stop
from paretune.search.recorder import Recorder
from paretune.search.run import Shortcuts
from paretune.search.space import Space
from paretune.search.summary import StudySummary
from paretune.search.trial_jobs import StoppedError, TrialJobs
from paretune.search.trial_state import Trial
from paretune.search.watcher import Watcher
from paretune.stats.parent_gain import build_cost, parent_bounds


class KeepsParents(Protocol):
    """Where what was measured of parents becomes durable (`paretune.study.parents`)."""

    def get(self, artifact: str, slot: EvaluatorSlot) -> Mapping[str, Measurement] | None:
        """Return what an evaluator has measured of a parent; empty: it could not; None: nothing."""

    def put(self, artifact: str, slot: EvaluatorSlot, measured: Mapping[str, Measurement]) -> None:
        """Make durable what an evaluator has measured of a parent."""


class ParentServices(Protocol):
    """What measuring parents needs of a search (`paretune.search.run.SearchRun` describes it)."""

    recorder: Recorder
    job_factory: JobFactory
    target: Target
    evaluators: Sequence[EvaluatorSlot]
    objectives: Sequence[Objective]
    constraints: Sequence[Constraint]
    shortcuts: Shortcuts
    baseline: str
    space: Space
    trials: int | None
    watcher: Watcher

    @property
    def clock(self) -> Callable[[], float]:
        """Gives seconds."""

    @property
    def cores(self) -> int:
        """Physical cores of the device."""

    def baseline_outcome(self) -> TrialResult | None:
        """Return the baseline's result, once it exists."""

    def summary(self) -> StudySummary:
        """Return the summary of the study as it is now."""

    def possible_dominators(self) -> dict[int, Mapping[str, Measurement]]:
        """Return the feasible candidates that may dominate another one, by number."""

    def left(self) -> float | None:
        """Return the seconds that what runs now may take; None: no limit."""


class ParentFirst:
    """What one trial knows of its parent, and measures of it.

    Args:
        search: What it needs of the search.
        trial: The trial.

    Attributes:
        found: What is known of the parent; None: nothing.
        prefix: The candidate's recipe up to the parent, if the parent is measured next.
    """

    def __init__(self, search: ParentServices, trial: Trial) -> None:
        self._search = search
        self._id, self._candidate = trial.id, trial.candidate
        self._begun = bool(trial.measured)
        self._specs = {spec.name: spec for slot in search.evaluators for spec in slot.metrics}
        self._parent: Candidate | None = None
        self._built: tuple[StepTime, ...] = ()
        self._step: StepTime | None = None
        self._artifact: str | None = None
        self.found = trial.parent
        self.prefix: Candidate | None = None

    def look(self) -> Stop | None:
        """Return why the candidate need not be built, by what is known of its parent before."""
        search, factory = self._search, self._search.job_factory
        if (
            not (search.shortcuts.parents and search.shortcuts.early_stops)
            or not isinstance(factory, FindsParents)
            or self._candidate.digest == search.baseline
        ):
            return None
        parent = self._parent = factory.parent(self._candidate, search.cores)
        if parent is None:
            return None
        prefix = Candidate(parent.recipe, self._candidate.runtime)
        artifact = factory.stored(prefix)
        if artifact is not None:
            self._look_up(artifact)
        if self._begun:
            return None
        stop = self._stop()
        whole = factory.built_steps(self._candidate) == len(self._candidate.recipe)
        if stop is None and not whole and not builds_apart(search.target) and self._may_measure():
            self.prefix = prefix
        return stop

    def _may_measure(self) -> bool:
        """Return whether measuring the parent pays.

        Beside the baseline nothing is known yet: it is asked again when the parent is built.
        """
        if self._search.baseline_outcome() is not None:
            return self._next() is not None
        limited = {c.metric for c in self._search.constraints if asks_for_better(c, self._specs)}
        names = {spec.name for slot in self._slots() for spec in slot.metrics}
        return self._records is not None and bool(limited & names)

    def measure(self, built: BuildResult, jobs: TrialJobs, seconds: list[StepTime]) -> Stop | None:
        """Measure the parent as far as it pays; what it takes is added to the trial's seconds.

        Args:
            built: The parent.
            jobs: Of the trial.
            seconds: Of the trial.

        Returns:
            Why the candidate need not be built; None: it is.
        """
        search, parent = self._search, self._parent
        assert parent is not None
        self.prefix, self._built = None, built.steps
        seconds += built.steps
        fresh = bool(built.steps) and not built.steps[-1].cached
        if not search.job_factory.is_intact(built.model, fresh=fresh):
            return None  # it is built again, as a part of the whole
        self._look_up(built.model.digest)
        start, waited = search.clock(), jobs.waited
        if self._stop() is None and self._next():
            try:
                with search.job_factory.packaged(built.model, parent.runtime) as package:
                    self._measure(package, parent, jobs)
            finally:
                passed = search.clock() - start - (jobs.waited - waited)
                self._step = StepTime(STEP, max(0.0, passed), False)
                seconds.append(self._step)
        return self._stop()

    def joined(self, steps: tuple[StepTime, ...], seconds: list[StepTime]) -> tuple[StepTime, ...]:
        """Return the steps of the whole build, those first as they were when the parent was built.

        Args:
            steps: Of the whole build, which took the parent from the store.
            seconds: Of the trial, from which what was added for the parent is taken out.
        """
        own = (*self._built, *(() if self._step is None else (self._step,)))
        if not own:
            return steps
        seconds[:] = [step for step in seconds if not any(step is each for each in own)]
        first = tuple(
            known if step.cached else step for known, step in zip(self._built, steps, strict=False)
        )
        found = (*first, *steps[len(first) :], *own[len(self._built) :])
        self._built, self._step = (), None
        return found

    def result(self, measured: Mapping[str, Measurement]) -> Parent | None:
        """Return what is known of the parent, with what the build costs.

        Args:
            measured: Of the candidate.
        """
        if self.found is None or self._artifact is None:
            return self.found
        costs = {
            name: cost
            for name, m in self.found.metrics.items()
            if name in measured
            and not measured[name].details.early
            and (cost := build_cost(measured[name], m)) is not None
        }
        return replace(self.found, costs=costs)

    def _test(self) -> ParentTest:
        search = self._search
        return ParentTest(
            search.summary().limits,
            search.objectives,
            self._specs,
            search.possible_dominators(),
            Gains(search.recorder.outcomes),
        )

    def _stop(self) -> Stop | None:
        return None if self.found is None else self._test().stop(self.found, self._candidate)

    @property
    def _records(self) -> KeepsParents | None:
        return getattr(self._search.recorder, "parents", None)

    def _slots(self) -> list[EvaluatorSlot]:
        """Return the evaluators that can measure the parent, without a metric of the device."""
        factory, parent = self._search.job_factory, self._parent
        assert isinstance(factory, FindsParents)
        assert parent is not None
        return [
            slot
            for slot in self._search.evaluators
            if not any(spec.device for spec in slot.metrics) and factory.fits(slot, parent)
        ]

    def _look_up(self, artifact: str) -> None:
        """Take what the study knows of the parent."""
        parent = self._parent
        assert parent is not None
        metrics: dict[str, Measurement] = {}
        for slot in self._slots():
            metrics |= self._known(artifact, slot)
        base = self._search.baseline_outcome()
        whole = {} if base is None or base.kind is not OutcomeKind.OK else base.measurements or {}
        bounds = {
            name: found
            for name, m in metrics.items()
            if (found := parent_bounds(m, whole.get(name))) is not None
        }
        known = Parent(artifact, len(parent.recipe), metrics, bounds)
        self.found = known if metrics else None
        self._artifact = artifact

    def _known(self, artifact: str, slot: EvaluatorSlot) -> Mapping[str, Measurement]:
        """Return what was measured of the parent, by a trial before or as a candidate itself."""
        records, names = self._records, [spec.name for spec in slot.metrics]
        found = None if records is None else records.get(artifact, slot)
        for outcome in () if found else built_as(self._search.recorder.outcomes, artifact):
            own = outcome.measurements or {}
            whole = all(name in own and not own[name].details.early for name in names)
            if outcome.kind is OutcomeKind.OK and whole:
                return {name: own[name] for name in names}
        return found or {}

    def _next(self) -> tuple[EvaluatorSlot, Rung, int | None] | None:
        """Return the next look that pays: evaluator, rung, examples (None: all of the rung)."""
        base = self._search.baseline_outcome()
        if self._records is None or base is None or base.kind is not OutcomeKind.OK:
            return None
        test, slots = self._test(), self._slots()
        wanted = test.decided_by({spec.name for slot in slots for spec in slot.metrics})
        for slot in slots:
            names = wanted & {spec.name for spec in slot.metrics}
            look = self._look_at(slot, base, names, test) if names else None
            if look is not None and self._pays(slot, look, base):
                return (slot, *look)
        return None

    def _look_at(
        self, slot: EvaluatorSlot, base: TrialResult, names: set[str], test: ParentTest
    ) -> tuple[Rung, int | None] | None:
        """Return the next look of one evaluator; None: it decides nothing more, or it failed."""
        known = {} if self.found is None else self.found.metrics
        measured = [known[name] for name in names if name in known]
        if self.found is None or not measured:
            return None if self._failed(slot) else (slot.rungs[0], None)
        if not any(m.details.early for m in measured):
            return None
        if names <= self.found.bounds.keys() and not test.may_stop(self.found, self._candidate):
            return None
        shares = [m for m in measured if m.details.rows is not None]
        if shares:
            whole = (base.measurements or {}).get(shares[0].metric)
            more = 2 * shares[0].n
            if whole is not None and more < whole.n:
                return slot.rungs[-1], more
        return slot.rungs[-1], None

    def _failed(self, slot: EvaluatorSlot) -> bool:
        """Return whether an evaluator has tried to measure the parent, and could not."""
        records, artifact = self._records, self._artifact
        return (
            records is not None and artifact is not None and records.get(artifact, slot) is not None
        )

    def _pays(self, slot: EvaluatorSlot, look: tuple[Rung, int | None], base: TrialResult) -> bool:
        search, parent = self._search, self._parent
        assert parent is not None
        _, examples = look
        outcomes = search.recorder.outcomes
        cost = measuring_s(slot, outcomes, base)
        names = {spec.name for spec in slot.metrics}
        known = {} if self.found is None else self.found.metrics
        seen = max((m.n for name, m in known.items() if name in names), default=0)
        if seen:
            whole = (m.n for name, m in (base.measurements or {}).items() if name in names)
            cost *= max(0, (examples or max(whole, default=0)) - seen) / seen
        left, trials = search.left(), search.trials
        saving = saving_s(
            self._candidate,
            parent.recipe,
            search.space,
            outcomes,
            trials_left=None if trials is None else max(1, trials - search.recorder.trials()),
            left_s=left,
        )
        return cost < saving and (left is None or cost < left)

    def _measure(self, package: Model, parent: Candidate, jobs: TrialJobs) -> None:
        """Measure until the bounds decide, or more does not pay."""
        search, records = self._search, self._records
        assert records is not None
        done: set[tuple[int, Rung, int | None]] = set()  # an evaluator may measure no more
        while self._stop() is None and (look := self._next()) is not None:
            slot, rung, examples = look
            if (slot.index, rung, examples) in done:
                return
            done.add((slot.index, rung, examples))
            names = {spec.name for spec in slot.metrics}
            known = {} if self.found is None else self.found.metrics
            previous = {name: m for name, m in known.items() if name in names}
            job = search.job_factory.measure(
                package, parent.runtime, slot, rung, previous, examples=examples
            )
            try:
                found = by_metric(jobs.value(job))
            except StoppedError as error:
                search.watcher.note(
                    f"candidate {self._id}: the trained model could not be measured by "
                    f"{slot.name} before its build: {error}; it is built"
                )
                if not error.fields.get("transient"):
                    records.put(package.digest, slot, {})
                return
            early = rung is not slot.rungs[-1] or examples is not None
            found = {name: m.noting(early=True) if early else m for name, m in found.items()}
            records.put(package.digest, slot, found)
            self._look_up(package.digest)
