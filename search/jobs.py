"""What the engine needs of the outside: jobs for a candidate, and its packaged folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.job import Job
from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.model import Model


@dataclass(frozen=True)
class EvaluatorSlot:
    """One configured evaluator, as the search sees it.

    Attributes:
        index: Its place in the configuration.
        name: As in the registry.
        params: As configured.
        metrics: What it yields.
        rungs: Where it measures, cheapest first.
        processes: In how many processes its last rung is measured (`search/schedule.py` says when).
    """

    index: int
    name: str
    params: Mapping[str, Json]
    metrics: tuple[MetricSpec, ...]
    rungs: tuple[Rung, ...]
    processes: int = 1

    @property
    def on_device(self) -> bool:
        """True if any of its metrics depends on the device (it times something)."""
        return any(spec.device for spec in self.metrics)


class JobFactory(Protocol):
    """Turns the steps of a candidate into jobs (`paretune.study.job_factory` for real ones)."""

    def build(self, candidate: Candidate) -> Job:
        """Return the job that builds the recipe; its value is ``{model, steps, faults}``."""

    def built_steps(self, candidate: Candidate) -> int:
        """Return how many of the recipe's first steps need not be built any more."""

    def is_intact(self, built: Model, *, fresh: bool) -> bool:
        """Return whether a built model is whole; if not, building it again makes it so.

        Args:
            built: The model.
            fresh: True if it was built just now, and its digest taken then.
        """

    def packaged(self, built: Model, runtime: RuntimeSettings) -> AbstractContextManager[Model]:
        """Yield the packaged layout of a built model; it is gone afterwards."""

    def refresh(self, job: Job) -> Job:
        """Return a job with the stamps of the files that it reads as they are now.

        Raises:
            InputChangedError: One of them is not what the search began with.
        """

    def verify_inputs(self, job: Job) -> None:
        """Refuse the result of a job if a file that it reads was written meanwhile.

        Raises:
            InputChangedError: A file holds something else now.
            InputTouchedError: A file was rewritten with the same content.
        """

    def smoke(self, package: Model, runtime: RuntimeSettings) -> Job:
        """Return the job that loads the package and generates."""

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
        """Return the job that measures one rung; its value is a list of measurements.

        Args:
            package: The packaged model.
            runtime: What it runs with.
            slot: The evaluator.
            rung: How much is measured.
            previous: What the rung before measured.
            seconds: About how long it samples; None: as long as the evaluator finds right.
            examples: How many examples are measured, those of `previous` included; None: all.
            block: Whether it is one of many processes that are set against each other.
        """


@runtime_checkable
class Resumes(Protocol):
    """A job factory whose builds can continue from what an earlier run has left."""

    def resumed_share(self, candidate: Candidate) -> float:
        """Return which share of the first step that is not built was done by an earlier run."""

    def run_of(self, recipe: Sequence[Step]) -> str:
        """Return what names the run of a recipe's last pass; one with another stop is the same."""


@runtime_checkable
class FindsParents(Protocol):
    """A job factory that knows which model a candidate's builds round or convert.

    It is the last model in full precision that a training led to: of ``lora, merge, genai`` what
    ``merge`` makes (`paretune.study.parent_recipes`).
    """

    def parent(self, candidate: Candidate, threads: int) -> Candidate | None:
        """Return the candidate's parent as a candidate of its own; None: it has none.

        Args:
            candidate: The candidate.
            threads: What the parent is run with.
        """

    def stored(self, candidate: Candidate) -> str | None:
        """Return the digest of what a candidate builds, if the store has it."""

    def fits(self, slot: EvaluatorSlot, parent: Candidate) -> bool:
        """Return whether an evaluator can measure a parent: it says what it needs of a session."""


@runtime_checkable
class Reseeds(Protocol):
    """A job factory that knows the trainings' seeds (`paretune.config.training_seeds`)."""

    def seeds(self, candidate: Candidate) -> tuple[int, ...]:
        """Return the seed of each training of its recipe, in order; empty: nothing has one."""

    def reseeded(self, candidate: Candidate, by: int) -> Candidate:
        """Return the same candidate with each of these seeds larger by a number."""


def resumed_share(factory: JobFactory, candidate: Candidate) -> float:
    """Return which share of a candidate's next step need not be done again; 0: none."""
    return factory.resumed_share(candidate) if isinstance(factory, Resumes) else 0.0


def same_run(factory: JobFactory, one: Sequence[Step], other: Sequence[Step]) -> bool:
    """Return whether two recipes end in the same run of a pass, up to whatever stop."""
    if tuple(one) == tuple(other) or not isinstance(factory, Resumes):
        return tuple(one) == tuple(other)
    return len(one) == len(other) > 0 and factory.run_of(one) == factory.run_of(other)


@dataclass(frozen=True)
class Aside:
    """One measurement on held-out data.

    Attributes:
        slot: The evaluator, with the held-out data instead of its own.
        of: Name of the same evaluator's step on its own data.
        ref: The data.
        digest: Of the data.
        share: Its examples over those that the evaluator measures otherwise.
    """

    slot: EvaluatorSlot
    of: str
    ref: str
    digest: str
    share: float

    def key(self) -> dict[str, Json]:
        """Return what a result is valid for, beside the artifact."""
        return {
            "evaluator": self.slot.name,
            "params": dict(self.slot.params),
            "digest": self.digest,
        }
