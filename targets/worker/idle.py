"""A walk through a recipe that runs no pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from paretune.core.candidate import Step
from paretune.core.checkpoints import Checkpoints
from paretune.core.jsontools import Json
from paretune.core.model import Model
from paretune.targets.worker.building import Builder


@dataclass(frozen=True)
class IdleBuilder(Builder):
    """Computes keys and looks into the store; what a step's output is, a subclass says."""

    def _check(self, model: Model) -> None:
        """Nothing is built on it."""

    @contextmanager
    def _checkpoints(
        self, step: Step, model: Model, more: Mapping[str, Json]
    ) -> Iterator[Checkpoints]:
        yield Checkpoints()
