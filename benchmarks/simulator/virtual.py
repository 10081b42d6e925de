"""The real engine in virtual time: its target, its jobs and its records, without processes.

The clock of the search is that of the target, which advances it by what each job took when it was
recorded. Everything in ``search/`` is the real code.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from simulator.tables import Recipe, Table

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.device import TargetInfo
from paretune.core.interference import Interference
from paretune.core.job import Build, BuildResult, Job, JobResult, JobStatus, Measure, Smoke
from paretune.core.jsontools import Json, canonical
from paretune.core.measurement import Measurement, Rung
from paretune.core.model import Model, ModelKind
from paretune.core.result import StepTime, TrialResult, uncached_seconds
from paretune.search.jobs import EvaluatorSlot
from paretune.search.outcomes import Outcomes
from paretune.search.trial_state import Trial

_FOLDER = Path("/nonexistent")
_INPUT = Model(ModelKind("recorded"), _FOLDER, "sha256:input")


@dataclass(frozen=True, kw_only=True)
class _Smoke(Smoke):
    candidate: Candidate


@dataclass(frozen=True, kw_only=True)
class _Measure(Measure):
    candidate: Candidate
    slot: EvaluatorSlot


class Clock:
    """Seconds that pass only when a job takes them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the seconds since the start."""
        return self.now


class VirtualStore:
    """Which prefixes are built, and what the rest of a recipe costs.

    Args:
        table: The recorded figures.
        shared: Whether a prefix is built once; otherwise each trial pays its whole chain.
    """

    def __init__(self, table: Table, *, shared: bool = True) -> None:
        self._table = table
        self._shared = shared
        self._built: dict[Recipe, float] = {}
        self._furthest: dict[str, list[Recipe]] = {}

    def built_steps(self, recipe: Recipe) -> int:
        """Return how many of the first steps need not be built any more."""
        count = 0
        while count < len(recipe) and recipe[: count + 1] in self._built:
            count += 1
        return count

    def step_seconds(self, recipe: Recipe) -> float:
        """Return what the last pass takes now: less if it goes on from where it was stopped."""
        whole = self._table.seconds(recipe)
        before = [
            self._table.seconds(known)
            for known in self._furthest.get(self.run_of(recipe), ())
            if self._table.seconds(known) <= whole
        ]
        return whole - max(before, default=0.0)

    def resumed_share(self, recipe: Recipe) -> float:
        """Return which share of the last pass an earlier run has done."""
        whole = self._table.seconds(recipe)
        return 1 - self.step_seconds(recipe) / whole if whole > 0 else 0.0

    def build(self, recipe: Recipe, left: float | None = None) -> tuple[StepTime, ...]:
        """Build what is missing; returns each step with its seconds.

        Args:
            recipe: The passes.
            left: Seconds after which nothing ends any more; None: no limit.
        """
        steps, spent = list[StepTime](), 0.0
        for count in range(1, len(recipe) + 1):
            prefix = recipe[:count]
            if self._shared and prefix in self._built:
                steps.append(StepTime(prefix[-1].name, self._built[prefix], True))
                continue
            taken, resumed = self.step_seconds(prefix), self.resumed_share(prefix)
            spent += taken
            steps.append(StepTime(prefix[-1].name, taken, False, resumed))
            if left is None or spent <= left:
                self._keep(prefix, taken)
        return tuple(steps)

    def _keep(self, recipe: Recipe, seconds: float) -> None:
        if not self._shared:
            return
        self._built[recipe] = seconds
        if recipe[-1].name in self._table.continued:
            self._furthest.setdefault(self.run_of(recipe), []).append(recipe)

    def run_of(self, recipe: Sequence[Step]) -> str:
        """Return what names the run of the last pass; one that goes on from it is the same."""
        last = recipe[-1]
        without = self._table.continued.get(last.name)
        params = {name: value for name, value in last.params.items() if name != without}
        told: list[Json] = [step.to_json() for step in recipe[:-1]]
        return canonical([*told, {"pass": last.name, "params": params}])


class VirtualJobs:
    """Turns candidates into jobs that name them (`paretune.search.jobs.JobFactory`).

    Args:
        store: What is built.
    """

    def __init__(self, store: VirtualStore, table: Table) -> None:
        self._store = store
        self._recipes: dict[str, Recipe] = {}
        self._table = table

    def build(self, candidate: Candidate) -> Job:
        """Return the job that builds a recipe."""
        self._recipes[self._table.artifact(candidate.recipe)] = candidate.recipe
        return Job(
            Build(model=_INPUT, recipe=candidate.recipe, provider="cpu", store=_FOLDER, data={})
        )

    def built_steps(self, candidate: Candidate) -> int:
        """Return how many of the recipe's first steps need not be built any more."""
        return self._store.built_steps(candidate.recipe)

    def resumed_share(self, candidate: Candidate) -> float:
        """Return which share of the first step that is not built was done by an earlier run."""
        if self._table.missing(candidate) is not None:
            return 0.0  # asked before the candidate is ruled out
        count = self.built_steps(candidate) + 1
        recipe = candidate.recipe
        return self._store.resumed_share(recipe[:count]) if count <= len(recipe) else 0.0

    def run_of(self, recipe: Sequence[Step]) -> str:
        """Return what names the run of a recipe's last pass."""
        return self._store.run_of(recipe)

    def is_intact(self, built: Model, *, fresh: bool) -> bool:
        """Return True: nothing is damaged."""
        del built, fresh
        return True

    @contextmanager
    def packaged(self, built: Model, runtime: RuntimeSettings) -> Iterator[Model]:
        """Yield the model."""
        del runtime
        yield built

    def refresh(self, job: Job) -> Job:
        """Return the job."""
        return job

    def verify_inputs(self, job: Job) -> None:
        """Do nothing: no file is read."""

    def _candidate(self, package: Model, runtime: RuntimeSettings) -> Candidate:
        return Candidate(self._recipes[package.digest], runtime)

    def smoke(self, package: Model, runtime: RuntimeSettings) -> Job:
        """Return the job that loads the package."""
        candidate = self._candidate(package, runtime)
        return Job(_Smoke(model=package, runtime=runtime, candidate=candidate))

    def measure(
        self,
        package: Model,
        runtime: RuntimeSettings,
        slot: EvaluatorSlot,
        rung: Rung,
        previous: Mapping[str, Measurement],
        seconds: float | None = None,
        examples: int | None = None,
        block: bool = False,
    ) -> Job:
        """Return the job that measures one rung."""
        return Job(
            _Measure(
                model=package,
                runtime=runtime,
                evaluator=slot.name,
                params=slot.params,
                rung=rung,
                seconds=seconds,
                examples=examples,
                block=block,
                previous=previous,
                data={},
                candidate=self._candidate(package, runtime),
                slot=slot,
            )
        )


class VirtualTarget:
    """Answers at once, and advances the clock by what a job took.

    Args:
        table: The recorded figures.
        store: What is built.
        clock: Advanced by each job.
        seed: Of the noise.
    """

    left: Callable[[], float | None] = staticmethod(lambda: None)
    """Gives the seconds until the search stops what runs."""

    def __init__(self, table: Table, store: VirtualStore, clock: Clock, seed: int) -> None:
        self._table = table
        self._store = store
        self._clock = clock
        self._seed = seed
        self._times: Counter[tuple[str, str, Rung]] = Counter()

    def info(self) -> TargetInfo:
        """Return two cores and nothing else."""
        return TargetInfo(self._table.name, cores=2, logical_cores=2)

    def submit(self, job: Job) -> Future[JobResult]:
        """Run a job; one that reaches the deadline never ends."""
        future: Future[JobResult] = Future()
        left = self.left()
        value, seconds = self._answer(job, left)
        if left is not None and seconds > left:
            self._clock.now += left
        else:
            self._clock.now += seconds
            future.set_result(JobResult(JobStatus.OK, value, seconds=seconds))
        return future

    def _answer(self, job: Job, left: float | None) -> tuple[Any, float]:
        task = job.task
        if isinstance(task, Build):
            steps = self._store.build(task.recipe, left)
            model = Model(ModelKind("recorded"), _FOLDER, self._table.artifact(task.recipe))
            structure = self._table.structure(task.recipe)
            return BuildResult(model, steps, structure=structure), uncached_seconds(steps)
        if isinstance(task, _Measure):
            return self._measured(task)
        assert isinstance(task, _Smoke)
        return None, self._table.smoke_seconds(task.candidate)

    def _measured(self, task: _Measure) -> tuple[Any, float]:
        candidate, slot = task.candidate, task.slot
        key = (candidate.digest, slot.name, task.rung)
        self._times[key] += 1
        draw = random.Random(f"{self._seed}/{'/'.join(key)}/{self._times[key]}")
        found = self._table.measure(candidate, slot, task.rung, task.examples, draw)
        return list(found.values), found.seconds

    def cancel(self) -> None:
        """Do nothing: no job is running."""

    def close(self) -> None:
        """Do nothing: it holds nothing."""


class InMemory:
    """Keeps outcomes in memory (`paretune.search.recorder.Recorder`)."""

    def __init__(self) -> None:
        self.outcomes = Outcomes()
        self.paused: dict[int, Trial] = {}
        self._highest = 0
        self._wasted = 0.0

    def next_id(self, taken: Collection[int] = ()) -> int:
        """Return the next number."""
        return max(self._highest, *self.paused, *taken, 0) + 1

    def pause(self, trial: Trial) -> None:
        """Keep a trial that was paused."""
        self.paused[trial.id] = trial

    def begin(self, id: int, candidate: Candidate) -> Path:
        """Return a folder that is never written to."""
        del id, candidate
        return _FOLDER

    def record(self, outcome: TrialResult) -> None:
        """Keep an outcome; an earlier one of its number is replaced."""
        if not outcome.not_promoted:
            self.paused.pop(outcome.id, None)
        self._highest = max(self._highest, outcome.id)
        self.outcomes.put(outcome)

    def update(self, outcome: TrialResult) -> None:
        """Put an outcome in the place of the one with its number."""
        self.outcomes.put(outcome)

    def spent(self) -> float:
        """Return the seconds of work so far."""
        return self.outcomes.spent_s + self._wasted

    def trials(self) -> int:
        """Return how many candidates ran a job."""
        ended = self.outcomes.get
        return self.outcomes.trials + sum(ended(id) is None for id in self.paused)

    def waste(self, seconds: float) -> None:
        """Add work without an outcome."""
        self._wasted += seconds

    def repeats_of(self, outcome: TrialResult) -> list[TrialResult]:
        """Return none: recorded figures have no other seeds."""
        del outcome
        return []

    def add_repeat(self, outcome: TrialResult, repeat: TrialResult) -> None:
        """Do nothing."""

    def confirmed(self, outcome: TrialResult, key: Json) -> dict[str, Measurement] | None:
        """Return None: no data is held out."""
        del outcome, key
        return None

    def confirm(self, outcome: TrialResult, key: Json, measured: Mapping[str, Measurement]) -> None:
        """Do nothing."""


class Silent:
    """A watcher that sees nothing."""

    def candidate(self, id: int, candidate: Candidate) -> None:
        """A candidate begins."""

    def step(self, progress: Any) -> None:
        """A sign of life."""

    def timing(self, on: bool) -> None:
        """Something is timed."""

    def outcome(self, outcome: TrialResult, best: TrialResult | None, front: int) -> None:
        """A candidate ended."""

    def note(self, text: str) -> None:
        """One line for the user."""


@contextmanager
def undisturbed() -> Iterator[Any]:
    """Watch a processor that no other process uses."""
    yield SimpleNamespace(seen=Interference())
