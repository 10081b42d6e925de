"""The job ``build``: walks a recipe, and takes each prefix from the store or runs its pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paretune.data import DataCatalog
from paretune.errors import PassError
from paretune.jsontools import Json, digest
from paretune.models import Model, ModelKind, folder_bytes
from paretune.passes.base import Context, Pass, Progress
from paretune.registry import find_pass
from paretune.search.candidate import Step, recipe_from_json
from paretune.search.outcome import StepTime
from paretune.store import Store


def build(payload: Mapping[str, Any], report: Callable[[Progress], None]) -> Json:
    """Build a recipe's artifact.

    Args:
        payload: As `paretune.targets.worker` describes it.
        report: Takes signs of life.

    Returns:
        ``{"model": ..., "steps": [{"step", "s", "cached"}, ...], "bytes": ...}``. The seconds of
        a cached step are those that it took when it was built: what was saved.

    Raises:
        PassError: A pass cannot do what its parameters ask for, or left nothing.
        InvalidArtifactError: What a pass built does not load.
    """
    builder = _Builder(
        store=Store(Path(payload["store"])),
        data=DataCatalog.from_json(payload["data"]),
        provider=payload["provider"],
        report=report,
        allow_network=payload.get("allow_network", False),
        trust_remote_code=payload.get("trust_remote_code", False),
    )
    model = Model.from_json(payload["input"])
    steps = []
    for step in recipe_from_json(payload["recipe"]):
        model, cost = builder.apply(step, model)
        steps.append(cost.to_json())
    return {"model": model.to_json(), "steps": steps, "bytes": folder_bytes(model.path)}


def input_digest(model: Model) -> str:
    """Return the digest of everything that a pass is given: an adapter's base belongs to it."""
    if model.base is None:
        return model.digest
    return digest([model.digest, input_digest(model.base)])


def data_of(pass_: Pass, params: Any) -> tuple[str, ...]:
    """Return the references of the data sets that a pass reads with these parameters.

    A pass that reads any has a method ``data(params)``.
    """
    references: Callable[[Any], tuple[str, ...]] | None = getattr(pass_, "data", None)
    return () if references is None else tuple(references(params))


@dataclass(frozen=True)
class _Builder:
    store: Store
    data: DataCatalog
    provider: str
    report: Callable[[Progress], None]
    allow_network: bool
    trust_remote_code: bool

    def apply(self, step: Step, model: Model) -> tuple[Model, StepTime]:
        """Return the model after one step, and what the step cost."""
        pass_ = find_pass(step.name)
        params = pass_.Params(**step.params)
        key = self.store.action_key(
            input_digest=input_digest(model),
            pass_=pass_,
            params=params,
            data={ref: self.data.digest(ref) for ref in data_of(pass_, params)},
            provider=self.provider,
        )
        with self.store.lock(key):
            found = self.store.lookup(key)
            if found is not None:
                seconds = float(self.store.note(key).get("seconds", 0.0))
                return self._after(found, model), StepTime(step.name, seconds, True)
            start = time.perf_counter()
            made = self._run(pass_, params, step, model, key, start)
            cost = StepTime(step.name, time.perf_counter() - start, False)
            return self._after(made, model), cost

    def _run(
        self, pass_: Pass, params: Any, step: Step, model: Model, key: str, start: float
    ) -> Model:
        with self.store.stage() as stage:
            out, scratch = stage / "out", stage / "scratch"
            out.mkdir()
            scratch.mkdir()
            context = Context(
                out=out,
                scratch=scratch,
                data=self.data,
                provider=self.provider,
                progress=self.report,
                allow_network=self.allow_network,
                trust_remote_code=self.trust_remote_code,
            )
            self.report(Progress(step.name, 0, 0))
            pass_.run(model, params, context)
            if not any(out.iterdir()):
                raise PassError(f"pass {step.name!r} ended without writing a model")
            note = {**step.to_json(), "seconds": round(time.perf_counter() - start, 4)}
            return self.store.put(key, out, pass_.produces, note)

    def _after(self, made: Model, before: Model) -> Model:
        """An adapter is of use with its base only: the model that it was trained on."""
        return replace(made, base=before) if made.kind is ModelKind.HF_ADAPTER else made
