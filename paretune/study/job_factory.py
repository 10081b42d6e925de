"""Turns a candidate's steps into jobs for a worker, and its artifact into the packaged folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from paretune.config.training_seeds import reseeded, seeds
from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.job import Build, Job, Measure, Smoke
from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement, Rung
from paretune.core.model import Model
from paretune.core.permissions import Permissions
from paretune.data.catalog import DataCatalog
from paretune.models.inputs import MODEL, Inputs, check, renewed
from paretune.plugin_identity import data_read_by, run_of
from paretune.registry import find_evaluator, find_pass
from paretune.runtimes.package import lay_out
from paretune.search.jobs import EvaluatorSlot
from paretune.search.space import Chain, Space, slots_of
from paretune.store.artifacts import Store
from paretune.study.identity import data_of_evaluator
from paretune.study.parent_recipes import fits, parent_of


class StudyJobFactory:
    """Makes the tasks of a study (`paretune.core.job`).

    Args:
        model: The input model.
        store: Where artifacts are kept.
        data: ``DataCatalog.to_json()`` of the configuration's data sets.
        study: The study's folder: what its candidates are built from is held for it.
        inputs: What the jobs read, to be checked around each; by default the model alone.
        links: Whether packages may be hard links of artifacts: only if nothing that is given one
            could write there.
        permissions: Whether jobs may use the network and run code of models or configurations.
        stops: By pass, where its runs stop in this study (`stops_of`).
        compared_on: Data set of arrays that builds are compared with their source on; empty: none.
        baseline: What evaluators with `against_baseline` compare with.
    """

    def __init__(
        self,
        model: Model,
        store: Store,
        data: Json,
        *,
        study: Path | None = None,
        inputs: Inputs | None = None,
        links: bool = False,
        permissions: Permissions = Permissions(),
        stops: Mapping[str, tuple[float, ...]] | None = None,
        baseline: Candidate | None = None,
        compared_on: str = "",
    ) -> None:
        self._model = model
        self._store = store
        self._study = study
        self._inputs = inputs or Inputs(model)
        self._links = links
        self._catalog: DataCatalog | None = None
        self._data = data
        self._permissions = permissions
        self._stops = stops or {}
        self._baseline = baseline
        self._compared_on = compared_on

    def build(self, candidate: Candidate) -> Job:
        """Return the job that takes each prefix of the recipe from the store, or runs its pass."""
        compared = [f"data {self._compared_on}"] if self._compared_on and candidate.recipe else []
        return Job(
            Build(
                model=self._model,
                recipe=candidate.recipe,
                provider=candidate.runtime.provider,
                store=self._store.root,
                study=self._study,
                data=self._data,
                inputs=self._inputs.entries(MODEL, *_read_by(candidate, *compared)),
                permissions=self._permissions,
                stops=self._stops,
                compared_on=self._compared_on,
            )
        )

    def _of_model(self, package: Model) -> tuple[str, ...]:
        """Return what a package's content depends on: a copy of the input, or links to it."""
        return (MODEL,) if package.digest == self._model.digest else ()

    def built_steps(self, candidate: Candidate) -> int:
        """Return how many of a recipe's first steps lie in the store already."""
        return self._done(candidate)[0]

    def resumed_share(self, candidate: Candidate) -> float:
        """Return which share of the first step that is not built was done by an earlier run."""
        return self._done(candidate)[1]

    def run_of(self, recipe: Sequence[Step]) -> str:
        """Return what names the run of a recipe's last pass; one with another stop is the same."""
        return run_of(recipe)

    def parent(self, candidate: Candidate, threads: int) -> Candidate | None:
        """Return the model in full precision that a candidate's training led to, if any."""
        return parent_of(candidate, self._model.kind, threads)

    def stored(self, candidate: Candidate) -> str | None:
        """Return the digest of what a candidate builds, if the store has it."""
        count, _, model = self._done(candidate)
        return model.digest if count == len(candidate.recipe) else None

    def fits(self, slot: EvaluatorSlot, parent: Candidate) -> bool:
        """Return whether an evaluator can measure a parent."""
        return fits(slot, parent)

    def seeds(self, candidate: Candidate) -> tuple[int, ...]:
        """Return the seed of each training of a candidate's recipe."""
        return seeds(candidate)

    def reseeded(self, candidate: Candidate, by: int) -> Candidate:
        """Return the same candidate with each of these seeds larger by a number."""
        return reseeded(candidate, by)

    def _done(self, candidate: Candidate) -> tuple[int, float, Model]:
        from paretune.targets.worker.stored import stored

        if self._catalog is None:  # kept: it keeps the digests that it has computed
            self._catalog = DataCatalog.from_json(self._data)
        return stored(
            self._store,
            self._catalog,
            candidate.runtime.provider,
            candidate.recipe,
            self._model,
            root=Path(self._data.get("root", ".")),
            trust_remote_code=self._permissions.remote_code,
        )

    def _reference(self, slot: EvaluatorSlot) -> Model | None:
        """Return the baseline's model for an evaluator that compares with it."""
        if self._baseline is None or not getattr(
            find_evaluator(slot.name), "against_baseline", False
        ):
            return None
        count, _, model = self._done(self._baseline)
        return model if count == len(self._baseline.recipe) else None

    def is_intact(self, built: Model, *, fresh: bool) -> bool:
        """Return whether an artifact is what its digest says; if not, it was set aside."""
        if built.digest == self._model.digest:  # the input model is no artifact of the store
            return True
        if fresh:
            self._store.trust(built.digest)
        return self._store.is_intact(built.digest)

    @contextmanager
    def packaged(self, built: Model, runtime: RuntimeSettings) -> Iterator[Model]:
        """Yield the packaged layout; it is gone afterwards."""
        before = self._inputs.entries(*self._of_model(built))
        with self._store.stage(wait=False) as stage:
            package = lay_out(built, runtime, stage / "package", link=self._links)
            check(before)
            yield package

    def refresh(self, job: Job) -> Job:
        """Return a job with the stamps of the files that it reads as they are now."""
        return replace(job, task=replace(job.task, inputs=renewed(job.task.inputs)))

    def verify_inputs(self, job: Job) -> None:
        """Refuse the result of a job if a file that it reads was written meanwhile."""
        check(job.task.inputs)

    def smoke(self, package: Model, runtime: RuntimeSettings) -> Job:
        """Return the job that loads the package and generates a few tokens."""
        return Job(
            Smoke(
                model=package,
                runtime=runtime,
                inputs=self._inputs.entries(*self._of_model(package)),
                permissions=self._permissions,
            )
        )

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
        """Return the job that measures one evaluator at one rung."""
        reference = self._reference(slot)
        folders = [package] if reference is None else [package, reference]
        models = dict.fromkeys(name for folder in folders for name in self._of_model(folder))
        return Job(
            Measure(
                model=package,
                runtime=runtime,
                evaluator=slot.name,
                params=slot.params,
                rung=rung,
                seconds=seconds,
                examples=examples,
                block=block,
                previous=previous,
                reference=reference,
                data=self._data,
                inputs=self._inputs.entries(*models, *_needed_by(slot)),
                permissions=self._permissions,
            )
        )


def _read_by(candidate: Candidate, *more: str) -> tuple[str, ...]:
    """Return what a candidate's passes read beside the model: their code, files and data."""
    names = {*more} | {f"pass {step.name}" for step in candidate.recipe}
    names |= {f"data {ref}" for step in candidate.recipe for ref in data_read_by(step)}
    return tuple(sorted(names))


def stops_of(space: Space) -> dict[str, tuple[float, ...]]:
    """Return by pass where its runs stop in a space: the values of the parameter that says it."""
    found: dict[str, set[float]] = {}
    for slot in slots_of(Chain(space.stages)):
        name = getattr(find_pass(slot.name).Params, "stops_at", None)
        values = () if name is None else slot.grid.get(name, ())
        found.setdefault(slot.name, set()).update(v for v in values if v is not None)
    return {name: tuple(sorted(values)) for name, values in found.items() if values}


def _needed_by(slot: EvaluatorSlot) -> tuple[str, ...]:
    """Return what an evaluator reads: its code, files and data."""
    data = data_of_evaluator(slot)
    return (f"evaluator {slot.index}", *(f"data {ref}" for ref in data))
