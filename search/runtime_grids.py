"""Which settings models are run with: grids, of which no product is listed."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from paretune.core.candidate import RuntimeSettings
from paretune.core.jsontools import Json
from paretune.search.stages import value_text

WithoutEffect = Callable[[Mapping[str, Json]], frozenset[str]]


@dataclass(frozen=True)
class SettingsGrid:
    """One runtime, each of its settings with the values to try.

    Attributes:
        name: The runtime; empty: the default one of a model's kind.
        grid: Setting to values; ``provider`` and ``threads`` are among them.
        without_effect: Returns which of some settings change nothing beside the others. They have
            their first value, so that combinations that mean the same are one.
    """

    name: str
    grid: Mapping[str, tuple[Json, ...]]
    without_effect: WithoutEffect | None = field(default=None, compare=False)

    @cached_property
    def size(self) -> int:
        """Number of combinations that differ in effect."""
        return self._product if self._distinct is None else len(self._distinct)

    def at(self, index: int) -> RuntimeSettings:
        """Return a combination by its number; the last setting changes first."""
        return self.settings(
            self._chosen(index if self._distinct is None else self._distinct[index])
        )

    def settings(self, chosen: Mapping[str, Json]) -> RuntimeSettings:
        """Return the combination that means the same as these values.

        Args:
            chosen: A value of each setting.
        """
        first = {name: self.grid[name][0] for name in self._unused(chosen)}
        return RuntimeSettings.from_json({"name": self.name, **chosen, **first})

    def index(self, digits: Mapping[str, int]) -> int:
        """Return the number of a combination.

        Args:
            digits: As `digits` returned them.
        """
        number = 0
        for name, values in self.grid.items():
            number = number * len(values) + digits[name]
        return number if self._distinct is None else bisect_left(self._distinct, number)

    @cached_property
    def _product(self) -> int:
        return math.prod(len(values) for values in self.grid.values())

    @cached_property
    def _distinct(self) -> tuple[int, ...] | None:
        """The numbers in the whole product that count, ascending; None: all do."""
        if self.without_effect is None:
            return None
        return tuple(n for n in range(self._product) if not self._idle(self._chosen(n)))

    def _chosen(self, number: int) -> dict[str, Json]:
        chosen = {}
        for name, values in reversed(tuple(self.grid.items())):
            number, digit = divmod(number, len(values))
            chosen[name] = values[digit]
        return {name: chosen[name] for name in self.grid}

    def _idle(self, chosen: Mapping[str, Json]) -> bool:
        """Return whether a setting without effect has another value than its first one."""
        return any(
            value_text(chosen[name]) != value_text(self.grid[name][0])
            for name in self._unused(chosen)
        )

    def _unused(self, chosen: Mapping[str, Json]) -> frozenset[str]:
        told = frozenset() if self.without_effect is None else self.without_effect(chosen)
        return told & self.grid.keys()

    def digits(self, settings: RuntimeSettings) -> dict[str, int] | None:
        """Return the position of each setting's value; None if they are not among these."""
        given = settings.settings
        if settings.name != self.name or given.keys() != self.grid.keys():
            return None
        found = {}
        for name, values in self.grid.items():
            text = value_text(given[name])
            position = next((i for i, v in enumerate(values) if value_text(v) == text), None)
            if position is None:
                return None
            found[name] = position
        return None if self._idle(given) else found


@dataclass(frozen=True)
class Runtimes:
    """The settings that models of one kind are run with: one grid after another.

    Attributes:
        grids: In order, each of another runtime.
    """

    grids: tuple[SettingsGrid, ...]

    @cached_property
    def size(self) -> int:
        """Number of settings."""
        return sum(grid.size for grid in self.grids)

    def at(self, index: int) -> RuntimeSettings:
        """Return one of them by its number."""
        for grid in self.grids:
            if index < grid.size:
                break
            index -= grid.size
        return grid.at(index)

    def find(self, settings: RuntimeSettings) -> tuple[int, dict[str, int]] | None:
        """Return the position of the grid that settings belong to, and of each value in it."""
        for position, grid in enumerate(self.grids):
            digits = grid.digits(settings)
            if digits is not None:
                return position, digits
        return None

    def index(self, settings: RuntimeSettings) -> int | None:
        """Return the number of settings; None if they are not among these."""
        found = self.find(settings)
        if found is None:
            return None
        position, digits = found
        before = sum(grid.size for grid in self.grids[:position])
        return before + self.grids[position].index(digits)

    def __iter__(self) -> Iterator[RuntimeSettings]:
        """Yield all of them."""
        return (self.at(index) for index in range(self.size))


@dataclass(frozen=True)
class RuntimesByKind:
    """Which settings a recipe may run with, where that depends on the kind of its model.

    Attributes:
        input: Kind of the input model.
        produces: Pass to the kind of model that it makes.
        settings: Kind to the settings of the runtimes that run it.
    """

    input: str
    produces: Mapping[str, str]
    settings: Mapping[str, Runtimes]
