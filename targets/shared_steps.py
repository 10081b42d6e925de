"""Steps that several builds share: one builder makes such a step, and the others wait for it.

Builds in one store wait for each other by its locks (`paretune.store.artifacts.Store.lock`).
Builders with stores of their own see no lock of each other, so the pool compares the builds.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from paretune.core.errors import ParetuneError
from paretune.core.job import Build
from paretune.store.artifacts import Store
from paretune.targets.worker.stored import LastCatalog, stored

Place = TypeVar("Place")


class SharedSteps:
    """Finds the builds that make a step which another build lacks."""

    def __init__(self) -> None:
        self._catalog = LastCatalog()

    def makers(self, task: Build, running: Iterable[tuple[Place, Build]]) -> list[Place]:
        """Return where a step of a build is being made that is not in the store of this machine.

        Args:
            task: The build.
            running: The builds that run, each with its place.
        """
        shared = [(place, count) for place, each in running if (count := in_common(task, each))]
        if not shared:
            return []
        there = self._stored(task)
        return [place for place, count in shared if count > there]

    def _stored(self, task: Build) -> int:
        """Return how many of the first steps need not be built."""
        try:
            count, _, _ = stored(
                Store(task.store),
                self._catalog.of(task),
                task.provider,
                task.recipe,
                task.model,
                root=Path(task.data.get("root", ".")),
                trust_remote_code=task.permissions.remote_code,
            )
        except (ParetuneError, OSError):  # the build itself reports what cannot be read
            return len(task.recipe)
        return count


def in_common(one: Build, other: Build) -> int:
    """Return how many first steps two builds of one search have in common."""
    if (one.model.digest, one.provider) != (other.model.digest, other.provider):
        return 0
    count = 0
    for mine, theirs in zip(one.recipe, other.recipe, strict=False):
        if mine != theirs:
            break
        count += 1
    return count
