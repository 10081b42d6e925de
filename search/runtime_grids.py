"""Which settings models are run with: grids, of which no product is listed."""

from __future__ import annotations

import math
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
            their first value: combinations that mean the same are one candidate with several
            numbers.
    """

    name: str
    grid: Mapping[str, tuple[Json, ...]]
    without_effect: WithoutEffect | None = field(default=None, compare=False)

    @cached_property
    def size(self) -> int:
        """Number of combinations."""
        return math.prod(len(values) for values in self.grid.values())

    def at(self, digits: Mapping[str, int]) -> RuntimeSettings:
        """Return the settings with the values at these positions."""
        chosen = {name: values[digits[name]] for name, values in self.grid.items()}
        if self.without_effect is not None:
            unused = self.without_effect(chosen) & chosen.keys()
            chosen |= {name: self.grid[name][0] for name in unused}
        return RuntimeSettings.from_json({"name": self.name, **chosen})

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
        return found if self.without_effect is None or self.at(found).settings == given else None


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
        """Return one of them by its number; the last setting changes first."""
        for grid in self.grids:
            if index < grid.size:
                break
            index -= grid.size
        digits = {}
        for name, values in reversed(tuple(grid.grid.items())):
            index, digits[name] = divmod(index, len(values))
        return grid.at(digits)

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
        number = 0
        for name, values in self.grids[found[0]].grid.items():
            number = number * len(values) + found[1][name]
        return sum(grid.size for grid in self.grids[: found[0]]) + number

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
