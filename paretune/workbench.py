"""Turns a candidate's steps into jobs for a worker, and its artifact into the packaged folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from paretune.jsontools import Json
from paretune.measurement import Measurement, Rung
from paretune.models import Model
from paretune.package import lay_out
from paretune.search.candidate import Candidate, RuntimeSettings, recipe_to_json
from paretune.search.workbench import EvaluatorSlot
from paretune.store import Store
from paretune.targets.base import Job


class JobWorkbench:
    """Makes the payloads that ``targets/worker.py`` reads.

    Args:
        model: The input model.
        store: Where artifacts are kept.
        data: ``DataCatalog.to_json()`` of the configuration's data sets.
        allow_network: Whether jobs may reach out.
        trust_remote_code: Whether jobs may run code that models or configurations bring.
    """

    def __init__(
        self,
        model: Model,
        store: Store,
        data: Json,
        *,
        allow_network: bool = False,
        trust_remote_code: bool = False,
    ) -> None:
        self._model = model
        self._store = store
        self._shared: dict[str, Json] = {
            "data": data,
            "allow_network": allow_network,
            "trust_remote_code": trust_remote_code,
        }

    def build(self, candidate: Candidate) -> Job:
        """Return the job that takes each prefix of the recipe from the store, or runs its pass."""
        return Job(
            "build",
            {
                "input": self._model.to_json(),
                "recipe": recipe_to_json(candidate.recipe),
                "provider": candidate.runtime.provider,
                "store": str(self._store.root),
                **self._shared,
            },
        )

    @contextmanager
    def packaged(self, built: Model, runtime: RuntimeSettings) -> Iterator[Model]:
        """Yield the packaged layout, with large files as hard links; it is gone afterwards."""
        with self._store.stage() as stage:
            yield lay_out(built, runtime, stage / "package", link=True)

    def smoke(self, package: Model, runtime: RuntimeSettings) -> Job:
        """Return the job that loads the package and generates a few tokens."""
        payload = {"model": package.to_json(), "runtime": runtime.to_json(), **self._shared}
        return Job("smoke", payload)

    def measure(
        self,
        package: Model,
        runtime: RuntimeSettings,
        slot: EvaluatorSlot,
        rung: Rung,
        previous: Mapping[str, Measurement],
    ) -> Job:
        """Return the job that measures one evaluator at one rung."""
        return Job(
            "measure",
            {
                "model": package.to_json(),
                "runtime": runtime.to_json(),
                "evaluator": {"name": slot.name, "params": dict(slot.params)},
                "rung": rung.value,
                "budget": {"seconds": None, "examples": None},
                "previous": {name: m.to_json() for name, m in previous.items()},
                **self._shared,
            },
        )
