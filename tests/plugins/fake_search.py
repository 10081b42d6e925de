"""A search without processes: jobs are answered at once from the candidate's own parameters."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.device import TargetInfo
from paretune.core.fidelity import Verdict
from paretune.core.interference import Interference
from paretune.core.job import Build, BuildResult, Job, JobResult, JobStatus, Measure, Smoke
from paretune.core.jsontools import digest
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.model import Model, ModelKind
from paretune.core.result import StepTime, TrialResult
from paretune.search.constraints import Objective, parse_constraint
from paretune.search.engine import Engine
from paretune.search.jobs import EvaluatorSlot
from paretune.search.prechecks import Foresight
from paretune.search.run import Shortcuts
from paretune.search.space import PassSlot, Space
from paretune.search.strategies.exhaustive import Exhaustive
from paretune.search.strategies.full_trials import as_strategy
from paretune.search.summary import StudySummary, summarize, violations
from paretune.search.trial_state import Trial

OBJECTIVES = (Objective("accuracy", "maximize"), Objective("decode_ms_p50", "minimize"))
SLOTS = (
    EvaluatorSlot(
        0,
        "classification",
        {},
        (MetricSpec("accuracy", "fraction", "maximize", False),),
        (Rung.ROUGH, Rung.FULL),
    ),
    EvaluatorSlot(
        1,
        "generation",
        {},
        (MetricSpec("decode_ms_p50", "ms", "minimize", True),),
        (Rung.ROUGH, Rung.FULL),
    ),
)


INPUT = Model(ModelKind.HF, Path("x"), "sha256:0")


@dataclass(frozen=True, kw_only=True)
class FakeSmoke(Smoke):
    """A job that names what the package was built by."""

    recipe: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True)
class FakeMeasure(Measure):
    """A job that names what the package was built by."""

    recipe: tuple[Step, ...]


def recipe_of(job: Job) -> tuple[Step, ...]:
    """Return the recipe of the candidate that a job is for."""
    assert isinstance(job.task, Build | FakeSmoke | FakeMeasure)
    return job.task.recipe


def measures(job: Job, evaluator: str) -> bool:
    """Return whether a job runs an evaluator."""
    return isinstance(job.task, Measure) and job.task.evaluator == evaluator


class FakeWorkbench:
    """Jobs that carry the candidate, and no folder."""

    def __init__(self) -> None:
        self.candidate: Candidate | None = None
        self.built: dict[str, Candidate] = {}

    def build(self, candidate: Candidate) -> Job:
        self.candidate = candidate
        self.built[artifact_of(candidate.recipe[-1].params if candidate.recipe else {})] = candidate
        return Job(
            Build(
                model=INPUT, recipe=candidate.recipe, provider="cpu", store=Path("store"), data={}
            )
        )

    def built_steps(self, candidate: Candidate) -> int:
        return 0

    def is_intact(self, built: Model, *, fresh: bool) -> bool:
        return True

    @contextmanager
    def packaged(self, built: Model, runtime: RuntimeSettings) -> Iterator[Model]:
        yield built

    def refresh(self, job: Job) -> Job:
        return job

    def verify_inputs(self, job: Job) -> None:
        pass

    def smoke(self, package: Model, runtime: RuntimeSettings) -> Job:
        assert self.candidate is not None
        return Job(FakeSmoke(model=package, runtime=runtime, recipe=self.candidate.recipe))

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
        return Job(
            FakeMeasure(
                model=package,
                runtime=runtime,
                recipe=self.built[package.digest].recipe,
                evaluator=slot.name,
                params=slot.params,
                rung=rung,
                examples=examples,
                data={},
            )
        )


def artifact_of(params: Mapping[str, Any]) -> str:
    """Return the digest of what a step with these parameters builds."""
    return digest(params.get("same", dict(params)))


def told_of(kl: float | None) -> Verdict:
    """Return what a build job says of a build with that divergence; None: it was not compared."""
    if kl is None:
        return Verdict(None, "nobody says")
    found = {"kl": kl, "top1": 0.75, "information": 3.0, "tokens": 160, "lengths": [16, 144]}
    return Verdict(found)


class FakeTarget:
    """Answers a job from the parameters of the candidate's last step.

    ``status`` (and ``at``, the job's kind) let a step fail; ``quality`` and ``ms`` are what is
    measured; ``same`` is what the artifact's digest depends on (default: all parameters), and
    ``structure`` its structure (default: unknown).
    """

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.cancelled = False

    def info(self) -> TargetInfo:
        return TargetInfo("fake")

    def submit(self, job: Job) -> Future[JobResult]:
        future: Future[JobResult] = Future()
        answer = self._answer(job)
        if answer is not None:
            future.set_result(answer)
        return future

    def _answer(self, job: Job) -> JobResult | None:
        recipe = recipe_of(job)
        params: dict[str, Any] = dict(recipe[-1].params) if recipe else {}
        name = job.kind
        if isinstance(job.task, Measure):
            name = f"{job.task.evaluator}:{job.task.rung}"
        self.jobs.append(name)
        if params.get("at", "build") == job.kind and "status" in params:
            if params["status"] == "hang":
                return None
            if params["status"] == "interrupt":
                raise KeyboardInterrupt
            if self.jobs.count(name) > params.get("times", 1 << 30):
                return JobResult(JobStatus.OK, self._value(job, params))
            return JobResult(
                JobStatus(params["status"]),
                reason="as asked for",
                seconds=1.0,
                transient=params.get("transient", False),
            )
        return JobResult(JobStatus.OK, self._value(job, params))

    def _value(self, job: Job, params: dict[str, Any]) -> Any:
        if isinstance(job.task, Build):
            return BuildResult(
                Model(ModelKind.HF, Path("x"), artifact_of(params)),
                (StepTime("noop", 1.0, False),),
                fidelity=told_of(params["kl"]) if "kl" in params else None,
                structure=params.get("structure"),
            )
        if not isinstance(job.task, Measure):
            return None
        wide = 0.1 if job.task.rung is Rung.ROUGH else 0.01
        if job.task.evaluator == "classification":
            value = params.get("quality", 0.9)
            ends = (value - wide, value + wide)
            measured = Measurement(
                "accuracy",
                value,
                "fraction",
                *ends,
                100,
                "fake-1",
                (value,),
                details={"final": list(ends)},
            )
            return [measured]
        value = params.get("ms", 10.0) / job.task.runtime.threads
        return [Measurement("decode_ms_p50", value, "ms", value - wide, value + wide, 10, "fake-1")]

    def cancel(self) -> None:
        self.cancelled = True

    def close(self) -> None:
        pass


class Memory:
    """A recorder that keeps everything in memory."""

    def __init__(self, folder: Path) -> None:
        self.outcomes: list[TrialResult] = []
        self.dropped: list[TrialResult] = []
        self.paused: dict[int, Trial] = {}
        self.wasted = 0.0
        self.folder = folder

    def next_id(self, taken: Collection[int] = ()) -> int:
        return max((*(o.id for o in self.outcomes), *self.paused, *taken), default=0) + 1

    def pause(self, trial: Trial) -> None:
        self.paused[trial.id] = trial

    def begin(self, id: int, candidate: Candidate) -> Path:
        return self.folder

    def record(self, outcome: TrialResult) -> None:
        paused = self.paused.keys()
        self.dropped += [o for o in self.outcomes if o.id == outcome.id and o.id not in paused]
        if not outcome.not_promoted:
            self.paused.pop(outcome.id, None)
        self.outcomes = [known for known in self.outcomes if known.id != outcome.id]
        self.outcomes.append(outcome)
        self.outcomes.sort(key=lambda known: known.id)

    def update(self, outcome: TrialResult) -> None:
        place = next(i for i, o in enumerate(self.outcomes) if o.id == outcome.id)
        self.outcomes[place] = outcome

    def spent(self) -> float:
        return self.wasted

    def trials(self) -> int:
        ended = [o for o in (*self.outcomes, *self.dropped) if o.id not in self.paused]
        return sum(outcome.is_trial for outcome in ended) + len(self.paused)

    def waste(self, seconds: float) -> None:
        self.wasted += seconds


class Silent:
    """A watcher that sees nothing."""

    def candidate(self, id: int, candidate: Candidate) -> None: ...
    def step(self, progress: Any) -> None: ...
    def timing(self, on: bool) -> None: ...
    def outcome(self, outcome: TrialResult, best: TrialResult | None, front: int) -> None: ...
    def note(self, text: str) -> None: ...


@contextmanager
def undisturbed() -> Iterator[Any]:
    """Watch a processor that nobody else uses."""
    yield SimpleNamespace(seen=Interference())


def noop(**params: Any) -> Candidate:
    """Return a candidate of one fake step."""
    return Candidate((Step("noop", params),), RuntimeSettings("cpu", params.pop("threads", 1)))


def make_engine(
    folder: Path,
    candidates: list[Candidate],
    constraints: tuple[str, ...] = (),
    *,
    shortcuts: Shortcuts = Shortcuts(),
    told: list[TrialResult] | None = None,
    look: Any = lambda candidate: Foresight(None),
    **settings: Any,
) -> Engine:
    """Return an engine over the given candidates in this order; the first is the baseline."""
    empty = Space((PassSlot("noop", {"never": (0,)}),), ("cpu",), (1,))
    parsed = tuple(parse_constraint(text) for text in constraints)
    strategy = Exhaustive(space=empty, objectives=OBJECTIVES, seed=0, first=candidates)
    recorder = Memory(folder)
    recorder.outcomes += told or []
    limits = summarize(recorder.outcomes, OBJECTIVES, (), None).limits
    for outcome in recorder.outcomes:
        strategy.tell(outcome.candidate, outcome, violations=violations(outcome, limits))
    settings.setdefault("trials", len(candidates))
    settings.setdefault("watching", undisturbed)

    def after(outcome: TrialResult, summary: StudySummary) -> None: ...

    return Engine(
        strategy=as_strategy(strategy),
        target=FakeTarget(),
        recorder=recorder,
        job_factory=FakeWorkbench(),
        evaluators=SLOTS,
        objectives=OBJECTIVES,
        constraints=parsed,
        look=look,
        watcher=Silent(),
        on_outcome=after,
        baseline=candidates[0].digest,
        shortcuts=shortcuts,
        **settings,
    )


IN_TURNS = (SLOTS[0], replace(SLOTS[1], processes=3))


class NoisyTarget(FakeTarget):
    """Speeds vary by a few percent from process to process, and with the hour for all alike."""

    def __init__(self, noise: float = 0.01, drift: float = 0.002) -> None:
        super().__init__()
        self.draw = random.Random(1)
        self.noise, self.drift, self.hour = noise, drift, 1.0

    def _value(self, job: Job, params: dict[str, Any]) -> Any:
        value = super()._value(job, params)
        if measures(job, "generation"):
            self.hour *= 1 + self.drift
            ms = value[0].value * self.hour * self.draw.lognormvariate(0, self.noise)
            value = [
                Measurement(
                    "decode_ms_p50", ms, "ms", ms * 0.999, ms * 1.001, 2, "fake-1", (ms, ms)
                )
            ]
        return value
