"""The task `Build`: walks a recipe, and takes each prefix from the store or runs its pass."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from paretune.core.candidate import Step
from paretune.core.checkpoints import Checkpoints
from paretune.core.errors import InvalidArtifactError, PassError
from paretune.core.fidelity import Fidelity, Verdict, unchanged, verdict_from
from paretune.core.job import Build, BuildResult
from paretune.core.jsontools import Json
from paretune.core.kernel_times import kernel_times_file
from paretune.core.model import Model
from paretune.core.permissions import Permissions
from paretune.core.progress import Progress
from paretune.core.result import StepTime, checked_details
from paretune.core.stamps import InputFiles
from paretune.data.catalog import DataCatalog
from paretune.data.context import Context
from paretune.models.containment import check_model
from paretune.models.handle import model_bytes
from paretune.models.inputs import check
from paretune.models.kinds.base import kind_named
from paretune.models.structure import VERSION as STRUCTURE
from paretune.models.structure import structure_of
from paretune.passes.base import Pass
from paretune.plugin_identity import device_matters, pass_key
from paretune.registry import find_pass, is_ours
from paretune.runtimes.serving import takes_arrays
from paretune.store.artifacts import Store
from paretune.store.checkpoints import StoredCheckpoints
from paretune.targets.device.fingerprint import fingerprint
from paretune.targets.worker import endings
from paretune.targets.worker.compared import (
    Origin,
    compare,
    fidelity_of,
    input_digest,
    what_to_do,
)
from paretune.targets.worker.compared_cache import ComparedCache
from paretune.targets.worker.scratch import temporary_folder
from paretune.targets.worker.seeds import take_over, told


def build(task: Build, report: Callable[[Progress], None], turns: str | None = None) -> BuildResult:
    """Build a recipe's artifact.

    Args:
        task: What is built.
        report: Takes the progress.
        turns: Unused.

    Raises:
        PassError: A pass cannot do what its parameters ask for, or left nothing.
        InvalidArtifactError: What a pass built does not load, or computes something else than what
            it was built from.
    """
    store = Store(task.store, task.study)
    take_over(store, task.seeds or ())
    builder = builder_of(Builder, task, store, DataCatalog.from_json(task.data), report)
    model, steps, verdict = builder.walk(task.recipe, task.model)
    structure = builder.structures.get(model.digest) or structure_of(model)
    faults = tuple(store.faults)
    made = () if task.seeds is None else told(store, builder.made, task.seeds)
    return BuildResult(model, tuple(steps), model_bytes(model), faults, verdict, structure, made)


_Kind = TypeVar("_Kind", bound="Builder")


def builder_of(
    kind: type[_Kind],
    task: Build,
    store: Store,
    data: DataCatalog,
    report: Callable[[Progress], None] = lambda progress: None,
    **more: Any,
) -> _Kind:
    """Return what walks the recipe of a task.

    Args:
        kind: Its class.
        task: What is built.
        store: Where artifacts are kept.
        data: The task's data sets.
        report: Takes the progress.
        **more: Further fields of the class.
    """
    return kind(
        store=store,
        data=data,
        root=Path(task.data.get("root", ".")),
        inputs=task.inputs,
        provider=task.provider,
        report=report,
        permissions=task.permissions,
        stops=task.stops,
        compared_on=task.compared_on,
        **more,
    )


def more_of(step: Step, root: Path, *, trust_remote_code: bool) -> dict[str, Json]:
    """Return what else a step's output depends on: its code, what it may do, maybe this device.

    Args:
        step: The step.
        root: Where relative paths start.
        trust_remote_code: With the permission a pass may keep a model's code beside it, or run it.
    """
    pass_ = find_pass(step.name)
    more = pass_key(pass_, step.params, root)
    if device_matters(pass_, step.params):
        more = {**more, "device": fingerprint()}
    return {**more, "trust_remote_code": True} if trust_remote_code else more


def action_of(
    store: Store,
    data: DataCatalog,
    provider: str,
    step: Step,
    model: Model,
    more: Mapping[str, Json],
) -> tuple[Pass, Any, str]:
    """Return a step's pass, its parameters, and the key of what it makes of a model."""
    pass_ = find_pass(step.name)
    params = pass_.Params(**step.params)
    return pass_, params, _key(store, data, provider, pass_, params, model, more)


def _key(
    store: Store,
    data: DataCatalog,
    provider: str,
    pass_: Pass,
    params: Any,
    model: Model,
    more: Mapping[str, Json],
) -> str:
    return store.action_key(
        input_digest=input_digest(model),
        pass_=pass_,
        params=params,
        data={ref: data.digest(ref) for ref in data_of(pass_, params)},
        provider=provider,
        more=more,
    )


def run_of(
    store: Store,
    data: DataCatalog,
    provider: str,
    step: Step,
    model: Model,
    more: Mapping[str, Json],
) -> tuple[str, float] | None:
    """Return the key of a step's whole run, and the share of it that the step is.

    None: its pass keeps no checkpoints. The key is the action key of the same step without a stop.
    """
    pass_ = find_pass(step.name)
    resumable: Callable[[Any], tuple[Any, float]] | None = getattr(pass_, "resumable", None)
    if resumable is None:
        return None
    whole, share = resumable(pass_.Params(**step.params))
    return _key(store, data, provider, pass_, whole, model, more), share


def data_of(pass_: Pass, params: Any) -> tuple[str, ...]:
    """Return the references of the data sets that a pass reads with these parameters.

    A pass that reads any has a method ``data(params)``.
    """
    references: Callable[[Any], tuple[str, ...]] | None = getattr(pass_, "data", None)
    return () if references is None else tuple(references(params))


class _DamagedInputError(Exception):
    """What the store had for an earlier pass is damaged, and set aside by now."""


def _copied(model: Model, stage: Path) -> Model:
    """Return a copy of a pass's input: code from elsewhere might write there, and to the store."""
    folder = stage / f"input-{model.digest[-12:]}"
    for file in model.parts:
        target = folder / file.relative_to(model.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    base = None if model.base is None else _copied(model.base, stage)
    return replace(model, path=folder, base=base, files=None)


def _details(step: Step, found: dict[str, Json]) -> dict[str, Json]:
    try:
        return checked_details(found)
    except (ValueError, TypeError) as error:
        raise PassError(
            f"pass {step.name!r}: context.details: {error}",
            hint="What a pass puts there is kept with each outcome: short, and JSON-able.",
        ) from error


def _fidelity(step: Step) -> Fidelity | None:
    pass_ = find_pass(step.name)
    return fidelity_of(pass_, pass_.Params(**step.params))


def _stays(step: Step, origin: Origin) -> bool:
    """Return whether what follows a step is still held to the same model in full precision.

    It is after an approximation, and after what computes the same as an approximation did.
    """
    fidelity = _fidelity(step)
    if fidelity is Fidelity.QUANTIZED:
        return True
    return fidelity in _SAME and origin.source is not origin.direct


_SAME = (Fidelity.FP32, Fidelity.FP16, Fidelity.BF16)


@dataclass(frozen=True)
class Builder:
    """Walks a recipe through a store.

    Attributes:
        compared_on: As of `paretune.core.job.Build`.
        made: Of each step the key of its action and what it made.
    """

    store: Store
    data: DataCatalog
    root: Path
    inputs: tuple[InputFiles, ...]
    provider: str
    report: Callable[[Progress], None]
    permissions: Permissions
    stops: Mapping[str, tuple[float, ...]]
    compared_on: str = ""
    structures: dict[str, str | None] = field(default_factory=dict)
    made: list[tuple[str, Model]] = field(default_factory=list)

    def walk(self, recipe: Sequence[Step], start: Model) -> tuple[Model, list[StepTime], Verdict]:
        """Return the model after the whole recipe, what each step cost, and its verdict.

        A damaged input of a pass sends the walk back to the start, where it is not found any more
        and so built again; each can be set aside once.
        """
        while True:
            model, costs = start, list[StepTime]()
            verdict = unchanged(of_arrays=takes_arrays(start.kind))
            self.made.clear()
            origin = Origin(start, start, "the input model")
            try:
                for step in recipe:
                    origin = replace(origin, direct=model)
                    model, cost, verdict = self._apply(step, origin, verdict)
                    costs.append(cost)
                    if not _stays(step, origin):
                        origin = Origin(model, model, f"the output of {step.name}")
            except _DamagedInputError:
                continue
            return model, costs, verdict

    def _apply(
        self, step: Step, origin: Origin, before: Verdict
    ) -> tuple[Model, StepTime, Verdict]:
        model = origin.direct
        more = more_of(step, self.root, trust_remote_code=self.permissions.remote_code)
        pass_, params, key = action_of(self.store, self.data, self.provider, step, model, more)
        with self._lock(key):
            start = time.perf_counter()
            made = self.store.lookup(key)
            cached = made is not None
            if made is None:
                self._check(model)
                with self._checkpoints(step, model, more) as checkpoints:
                    start = time.perf_counter()
                    made = self._run(pass_, params, step, model, key, checkpoints)
            made = self._after(made, model)
            verdict = self._verdict(pass_, params, made, origin, key)
            self._note_structure(made, key)
            self.made.append((key, made))
            action = self.store.action(key)
            seconds = time.perf_counter() - start
            note = {} if action is None else action.note
            if cached:
                seconds = float(note.get("seconds", 0.0))
        if not verdict.valid:
            raise InvalidArtifactError(
                f"{step.name}: {verdict.reason}",
                hint=what_to_do(verdict),
            )
        if _stays(step, origin) and _fidelity(step) is not Fidelity.QUANTIZED:
            verdict = before  # the figures of what was approximated are still the model's
        resumed = float(note.get("resumed", 0.0))
        details = note.get("details", {})
        return made, StepTime(step.name, seconds, cached, resumed, details), verdict

    def _lock(self, key: str) -> AbstractContextManager[None]:
        return self.store.lock(key)

    def _verdict(self, pass_: Pass, params: Any, made: Model, origin: Origin, key: str) -> Verdict:
        """Return what a build is to its source, as noted or compared now; its key is held."""
        action = self.store.action(key)
        known = None if action is None else self._known(action.note)
        if known is not None:
            return known
        start = time.perf_counter()
        with self._stage() as stage:
            context = self._context(stage / "out", stage)
            cache = ComparedCache(self.store.root / "compared")
            verdict = compare(pass_, params, made, origin, context, cache, self.compared_on)
        seconds = round(time.perf_counter() - start, 4)
        rows = self._rows() if verdict.of_arrays else ""
        note = {**verdict.to_json(), "seconds": seconds, "rows": rows}
        self.store.annotate(key, {"fidelity": note})
        return verdict

    def _known(self, note: Mapping[str, Any]) -> Verdict | None:
        """Return what a note says of a comparison, unless it was made on other rows."""
        known = verdict_from(note)
        if known is None or not known.of_arrays:
            return known
        return known if note["fidelity"].get("rows", "") == self._rows() else None

    def _rows(self) -> str:
        """Return the digest of the rows that networks are compared on; empty: made-up ones."""
        return self.data.known_digest(self.compared_on) if self.compared_on else ""

    def _note_structure(self, made: Model, key: str) -> None:
        """Record the structure of what a step made, unless it is recorded; the key is held."""
        action = self.store.action(key)
        known = {} if action is None else action.note.get("structure", {})
        if known.get("version") == STRUCTURE:
            self.structures[made.digest] = known["digest"]
            return
        found = self.structures[made.digest] = structure_of(made)
        if found is not None:
            self.store.annotate(key, {"structure": {"version": STRUCTURE, "digest": found}})

    def _stage(self) -> AbstractContextManager[Path]:
        """Return a context with an empty folder on the store's file system."""
        return temporary_folder(self.store.stage, self.store.root / "staging")

    def _context(self, out: Path, scratch: Path) -> Context:
        return Context(
            out=out,
            scratch=scratch,
            data=self.data,
            provider=self.provider,
            progress=self.report,
            permissions=self.permissions,
        )

    def _check(self, model: Model) -> None:
        """Read an input that comes from the store before a pass builds on it."""
        in_store = self.store.object_path(model.digest) == model.path
        if in_store and not self.store.is_intact(model.digest):
            raise _DamagedInputError
        if model.base is not None:
            self._check(model.base)

    @contextmanager
    def _checkpoints(
        self, step: Step, model: Model, more: Mapping[str, Json]
    ) -> Iterator[Checkpoints]:
        """Yield where a pass keeps its states; the run is held meanwhile."""
        run = run_of(self.store, self.data, self.provider, step, model, more)
        if run is None:
            yield Checkpoints()
            return
        stops = tuple(self.stops.get(step.name, ()))
        kept = StoredCheckpoints(self.store, run[0], step.to_json(), stops, endings.waiting)
        with kept.held():
            yield kept

    def _run(
        self,
        pass_: Pass,
        params: Any,
        step: Step,
        model: Model,
        key: str,
        checkpoints: Checkpoints,
    ) -> Model:
        start = time.perf_counter()
        with self._stage() as stage:
            out, scratch = stage / "out", stage / "scratch"
            out.mkdir()
            scratch.mkdir()
            context = replace(self._context(out, scratch), checkpoints=checkpoints)
            if device_matters(pass_, step.params):
                times = kernel_times_file(self.store.root, fingerprint())
                context = replace(context, kernel_times=times)
            self.report(Progress(step.name, 0, 0))
            pass_.run(
                model if is_ours("passes", step.name) else _copied(model, stage), params, context
            )
            if not any(out.iterdir()):
                raise PassError(f"pass {step.name!r} ended without writing a model")
            check_model(out)
            check(self.inputs)
            note = {**step.to_json(), "seconds": round(time.perf_counter() - start, 4)}
            if checkpoints.resumed:
                note["resumed"] = checkpoints.resumed
            if context.details:
                note["details"] = _details(step, context.details)
            made = self.store.put(key, out, pass_.produces, note)
        checkpoints.finish()
        return made

    def _after(self, made: Model, before: Model) -> Model:
        return with_base(made, before)


def with_base(made: Model, before: Model) -> Model:
    """An adapter is of use with its base only: the model that it was trained on."""
    return replace(made, base=before) if kind_named(made.kind).needs_base else made
