"""What of a recipe lies in a store already: for forecasts, and so that it is not built again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import Timeout

from paretune.core.candidate import Step
from paretune.core.checkpoints import Checkpoints
from paretune.core.fidelity import Verdict, unchanged
from paretune.core.job import Build, BuildResult
from paretune.core.jsontools import canonical
from paretune.core.model import Model
from paretune.data.catalog import DataCatalog
from paretune.models.handle import model_bytes
from paretune.models.structure import structure_of
from paretune.passes.base import Pass
from paretune.runtimes.serving import takes_arrays
from paretune.store.artifacts import Store
from paretune.store.checkpoints import furthest
from paretune.targets.worker.building import (
    action_of,
    builder_of,
    more_of,
    run_of,
    with_base,
)
from paretune.targets.worker.compared import Origin
from paretune.targets.worker.idle import IdleBuilder


class NotStoredError(Exception):
    """A step is not in the store."""


class LastCatalog:
    """The data sets of the last build that was asked for, with the digests that it has read."""

    def __init__(self) -> None:
        self._last: tuple[str, DataCatalog] | None = None

    def of(self, task: Build) -> DataCatalog:
        """Return a build's data sets."""
        key, last = canonical(dict(task.data)), self._last
        if last is None or last[0] != key:
            last = self._last = key, DataCatalog.from_json(task.data)
        return last[1]


@dataclass(frozen=True)
class StoredBuilder(IdleBuilder):
    """Walks a recipe as far as the store has it; runs nothing, and does not wait for locks.

    Attributes:
        uncompared: Keys of steps whose artifact was not compared with its source.
    """

    uncompared: list[str] = field(default_factory=list)

    def _lock(self, key: str) -> AbstractContextManager[None]:
        return self.store.lock(key, wait=False)

    def _run(
        self,
        pass_: Pass,
        params: Any,
        step: Step,
        model: Model,
        key: str,
        checkpoints: Checkpoints,
    ) -> Model:
        raise NotStoredError(step.name)

    def _verdict(self, pass_: Pass, params: Any, made: Model, origin: Origin, key: str) -> Verdict:
        action = self.store.action(key)
        known = None if action is None else self._known(action.note)
        if known is None:
            self.uncompared.append(key)
        return known or unchanged(of_arrays=takes_arrays(made.kind))


def found(
    task: Build, store: Store, data: DataCatalog
) -> tuple[BuildResult | None, list[tuple[str, Model]]]:
    """Return a build's result if the store has all of it, and what it has of the first steps.

    Args:
        task: What is to be built.
        store: Where artifacts are kept.
        data: The task's data sets.

    Returns:
        The result; and of each step that lies there the key of its action and what it made.

    Raises:
        InvalidArtifactError: A step computes something else than what it was built from.
    """
    walker = builder_of(StoredBuilder, task, store, data)
    try:
        model, steps, verdict = walker.walk(task.recipe, task.model)
    except (NotStoredError, Timeout):
        return None, walker.made
    if walker.uncompared:
        return None, walker.made
    structure = walker.structures.get(model.digest) or structure_of(model)
    result = BuildResult(
        model, tuple(steps), model_bytes(model), tuple(store.faults), verdict, structure
    )
    return result, walker.made


def stored(
    store: Store,
    data: DataCatalog,
    provider: str,
    recipe: Sequence[Step],
    start: Model,
    *,
    root: Path,
    trust_remote_code: bool = False,
) -> tuple[int, float, Model]:
    """Return what of a recipe need not run: how many first steps, and the share of the next one.

    The steps lie in the store; the next one continues from a checkpoint. Nothing is locked or read
    whole: it tells what a build will take, and decides nothing else. The model is that of the last
    step that lies there.
    """
    model = start
    for count, step in enumerate(recipe):
        more = more_of(step, root, trust_remote_code=trust_remote_code)
        _, _, key = action_of(store, data, provider, step, model, more)
        action = store.action(key)
        if action is None or not store.object_path(action.digest).is_dir():
            run = run_of(store, data, provider, step, model, more)
            return count, 0.0 if run is None else furthest(store, *run) / run[1], model
        made = Model(action.kind, store.object_path(action.digest), action.digest)
        model = with_base(made, model)
    return len(recipe), 0.0, model
