"""The stages that a space is made of: passes with grids, chains and alternatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from paretune.core.candidate import Step
from paretune.core.jsontools import Json, canonical

Steps: TypeAlias = tuple[Step, ...]


NEXT = "next"
"""A parameter's value that depends on the steps that follow (see `paretune.passes.base.Pass`)."""

LookAhead: TypeAlias = Callable[[Steps], Steps]
"""Puts into a recipe what stands for `NEXT` there."""


def value_text(value: Json) -> str:
    """Return a value's canonical JSON; of plain numbers without the detour of an encoder."""
    return repr(value) if type(value) in (int, float) else canonical(value)


@dataclass(frozen=True)
class PassSlot:
    """One pass, each of its parameters with the values to try.

    Attributes:
        name: The pass.
        grid: Parameter name to values, without repeats; a fixed parameter has one.
        optional: Also try without the pass.
        ranges: Of the parameters that were given as a range: ``{low, high, log, step, points}``.
    """

    name: str
    grid: Mapping[str, tuple[Json, ...]] = field(default_factory=dict)
    optional: bool = False
    ranges: Mapping[str, Mapping[str, Json]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @cached_property
    def size(self) -> int:
        """Number of ways to go through this stage."""
        return math.prod(len(values) for values in self.grid.values()) + self.optional

    def at(self, index: int) -> Steps:
        """Return the steps of one way; without the pass comes last."""
        if self.optional and index == self.size - 1:
            return ()
        chosen: dict[str, Json] = {}
        for name, values in reversed(tuple(self.grid.items())):
            index, digit = divmod(index, len(values))
            chosen[name] = values[digit]
        return (Step(self.name, {name: chosen[name] for name in self.grid}),)

    def number(self, digits: Sequence[int]) -> int:
        """Return the index of the way whose values have these positions."""
        index = 0
        for digit, values in zip(digits, self.grid.values(), strict=True):
            index = index * len(values) + digit
        return index

    def digits(self, step: Step) -> list[int] | None:
        """Return the position of each parameter's value, in order of the grid.

        An object that is not in the grid may stand for `NEXT`; the tree compares the recipes.

        Returns:
            None if the step is none of this pass with these values.
        """
        if step.name != self.name or step.params.keys() != self.grid.keys():
            return None
        found = []
        for name in self.grid:
            value, positions = step.params[name], self._positions(name)
            position = positions.get(value_text(value))
            if position is None and isinstance(value, dict):
                position = positions.get(value_text(NEXT))
            if position is None:
                return None
            found.append(position)
        return found

    @cached_property
    def _known(self) -> dict[str, dict[str, int]]:
        return {}

    def _positions(self, name: str) -> dict[str, int]:
        if name not in self._known:
            values = self.grid[name]
            self._known[name] = {value_text(values[i]): i for i in reversed(range(len(values)))}
        return self._known[name]


@dataclass(frozen=True)
class Chain:
    """Stages one after the other.

    Attributes:
        stages: In order.
    """

    stages: tuple[Stage, ...]

    @cached_property
    def size(self) -> int:
        """Number of ways to go through all of them."""
        return math.prod(stage.size for stage in self.stages)


@dataclass(frozen=True)
class AnyOf:
    """One of several alternatives.

    Attributes:
        options: The alternatives, in order.
        optional: Also try none of them.
    """

    options: tuple[Stage, ...]
    optional: bool = False

    @cached_property
    def size(self) -> int:
        """Number of ways through any of them."""
        return sum(option.size for option in self.options) + self.optional


Stage: TypeAlias = PassSlot | Chain | AnyOf


def slots_of(stage: Stage) -> Iterator[PassSlot]:
    """Yield every pass below a stage, in order."""
    if isinstance(stage, PassSlot):
        yield stage
        return
    for inner in stage.stages if isinstance(stage, Chain) else stage.options:
        yield from slots_of(inner)


def first_name(stage: Stage) -> str:
    """Return the name of the first pass below a stage; ``nothing`` where there is none."""
    return next((slot.name for slot in slots_of(stage)), "nothing")
