"""The space: every candidate that a configuration declares, counted and numbered without a list.

A space is a tree: a pass with a grid for each parameter, a chain of stages, or one of several
alternatives; any stage can be optional. Sizes multiply along a chain and add over alternatives, so
a number stands for a recipe as digits in mixed radix do. The first pass is the slowest digit and
runtime settings are the fastest, so that neighbours share as long a prefix as they can.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from paretune.core.candidate import Candidate, Step
from paretune.core.jsontools import Json
from paretune.search.runtime_grids import Runtimes, RuntimesByKind, SettingsGrid
from paretune.search.stages import (
    NEXT,
    AnyOf,
    Chain,
    LookAhead,
    PassSlot,
    Stage,
    slots_of,
    value_text,
)
from paretune.search.tree import Tree

__all__ = ["AnyOf", "Chain", "PassSlot", "Space", "Stage", "grid", "slots_of"]


@dataclass(frozen=True)
class Space:
    """All candidates of a configuration.

    Two alternatives may give the same recipe; such a candidate has several numbers, and `index`
    returns the first.

    Attributes:
        stages: The passes in order.
        providers: Execution providers to try.
        threads: Thread counts to try.
        by_kind: In place of both: the settings for each kind of model.
        look_ahead: Puts into a recipe what depends on its later steps.
    """

    stages: tuple[Stage, ...]
    providers: tuple[str, ...] = ("cpu",)
    threads: tuple[int, ...] = (1,)
    by_kind: RuntimesByKind | None = None
    look_ahead: LookAhead | None = field(default=None, compare=False)

    @cached_property
    def tree(self) -> Tree:
        """The stages as a graph, which counts, numbers and names."""
        grid = {"provider": self.providers, "threads": self.threads}
        runtimes = Runtimes((SettingsGrid("", grid),))
        return Tree(self.stages, runtimes, self.by_kind, self.look_ahead)

    def kind_of(self, recipe: Iterable[Step]) -> str:
        """Return the kind of model that a recipe ends with; empty where kinds do not matter."""
        if self.by_kind is None:
            return ""
        last = [self.by_kind.produces[step.name] for step in recipe]
        return last[-1] if last else self.by_kind.input

    def runtimes_of(self, kind: str) -> Runtimes:
        """Return the settings that models of a kind are run with."""
        return self.tree.runtimes_of(kind)

    @property
    def every_grid(self) -> tuple[SettingsGrid, ...]:
        """The grids of all settings that any candidate may run with."""
        if self.by_kind is None:
            return self.runtimes_of("").grids
        return tuple(grid for each in self.by_kind.settings.values() for grid in each.grids)

    @property
    def size(self) -> int:
        """Number of candidates."""
        return self.tree.size

    @cached_property
    def pass_names(self) -> frozenset[str]:
        """Every pass that any candidate may go through."""
        return frozenset(slot.name for slot in slots_of(Chain(self.stages)))

    def params_in_common(self, others: Iterable[Candidate] = ()) -> frozenset[tuple[str, str]]:
        """Return ``(pass, parameter)`` pairs with one value wherever that pass stands.

        They tell no candidate from another.

        Args:
            others: Candidates beside the space that are to be distinguished, too.
        """
        grids: dict[str, list[Mapping[str, tuple[Json, ...]]]] = {}
        for slot in slots_of(Chain(self.stages)):
            grids.setdefault(slot.name, []).append(slot.grid)
        for step in (step for candidate in others for step in candidate.recipe):
            fixed: dict[str, tuple[Json, ...]] = {k: (v,) for k, v in step.params.items()}
            grids.setdefault(step.name, []).append(fixed)
        return frozenset(
            (name, param)
            for name, some in grids.items()
            for param in {param for grid in some for param in grid}
            if all(len(grid.get(param, ())) == 1 for grid in some)
            and len({value_text(grid[param][0]) for grid in some}) == 1
            and (self.look_ahead is None or some[0][param][0] != NEXT)
        )

    def at(self, index: int) -> Candidate:
        """Return a candidate by its number.

        Raises:
            IndexError: The number is not in ``range(size)``.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"no candidate {index} in a space of {self.size}")
        return self.tree.at(index)

    def index(self, candidate: Candidate) -> int | None:
        """Return a candidate's (first) number, or None if it is not in the space."""
        return self.tree.index(candidate)

    def __iter__(self) -> Iterator[Candidate]:
        """Yield every candidate; neighbours share prefixes."""
        return (self.at(index) for index in range(self.size))


_POINTS = 5
_MAX_POINTS = 10_000


def grid(
    low: float,
    high: float,
    *,
    log: bool = False,
    step: float | None = None,
    points: int | None = None,
    integer: bool = False,
) -> tuple[Json, ...]:
    """Return the finite grid of a range, both ends included where a step reaches them.

    Args:
        low: First value.
        high: Last value.
        log: Equal ratios instead of equal distances.
        step: Distance of neighbours (their ratio with `log`).
        points: Number of values instead of a step; by default 5, or every whole number for an
            integer range without `log`.
        integer: Whole numbers only; what rounds to the same one is one value.

    Raises:
        ValueError: The ends are in the wrong order, or `log` with an end that is not positive, or
            a step that never arrives.
    """
    if points is not None and not 1 <= points <= _MAX_POINTS:
        raise ValueError(f"{points} points; expected 1 to {_MAX_POINTS}")
    if not low <= high:
        raise ValueError(f"low ({low:g}) is above high ({high:g})")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range begins above 0, not at {low:g}")
    if step is not None and step <= (1 if log else 0):
        raise ValueError(f"a step of {step:g} never arrives")
    if step is None and points is None and integer and not log:
        step = 1
    values: list[float] = []
    if step is not None:
        count = math.log(high / low) / math.log(step) if log else (high - low) / step
        if not count < _MAX_POINTS:
            raise ValueError(f"a step of {step:g} gives more than {_MAX_POINTS} values")
        steps = range(math.floor(count + 1e-9) + 1)
        values = [low * step**i if log else low + step * i for i in steps]
    else:
        count = (points or _POINTS) - 1
        ratios = [i / count for i in range(count + 1)] if count else [0.0]
        values = [low * (high / low) ** r if log else low + (high - low) * r for r in ratios]
    rounded = [round(v) if integer else float(f"{v:.12g}") for v in values]
    return tuple(dict.fromkeys(rounded))
