"""The space: every candidate that a configuration declares, counted and numbered without a list.

A space is a tree: a pass with a grid for each parameter, a chain of stages, or one of several
alternatives; any stage can be optional. Sizes multiply along a chain and add over alternatives, so
a number stands for a recipe as digits in mixed radix do. The first pass is the slowest digit and
runtime settings are the fastest, so that neighbours share as long a prefix as they can.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import TypeAlias

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.jsontools import Json, canonical

Steps: TypeAlias = tuple[Step, ...]


@dataclass(frozen=True)
class PassSlot:
    """One pass, each of its parameters with the values to try.

    Attributes:
        name: The pass.
        grid: Parameter name to values, without repeats; a fixed parameter has one.
        optional: Also try without the pass.
    """

    name: str
    grid: Mapping[str, tuple[Json, ...]] = field(default_factory=dict)
    optional: bool = False

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

    def match(self, steps: Steps) -> Iterator[tuple[int, Steps]]:
        """Yield ``(index, remaining steps)`` of each way that the steps may begin with."""
        if steps and steps[0].name == self.name and steps[0].params.keys() == self.grid.keys():
            digits = [_position(values, steps[0].params[n]) for n, values in self.grid.items()]
            if None not in digits:
                index = 0
                for digit, values in zip(digits, self.grid.values(), strict=True):
                    assert digit is not None
                    index = index * len(values) + digit
                yield index, steps[1:]
        if self.optional:
            yield self.size - 1, steps


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

    def at(self, index: int) -> Steps:
        """Return the steps of one way; the first stage is the slowest digit."""
        parts: list[Steps] = []
        for stage in reversed(self.stages):
            index, digit = divmod(index, stage.size)
            parts.append(stage.at(digit))
        return tuple(step for part in reversed(parts) for step in part)

    def match(self, steps: Steps) -> Iterator[tuple[int, Steps]]:
        """Yield ``(index, remaining steps)`` of each way that the steps may begin with."""
        yield from self._match(steps, 0, 0)

    def _match(self, steps: Steps, position: int, index: int) -> Iterator[tuple[int, Steps]]:
        if position == len(self.stages):
            yield index, steps
            return
        stage = self.stages[position]
        for digit, rest in stage.match(steps):
            yield from self._match(rest, position + 1, index * stage.size + digit)


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

    def at(self, index: int) -> Steps:
        """Return the steps of one way; none of them comes last."""
        for option in self.options:
            if index < option.size:
                return option.at(index)
            index -= option.size
        return ()

    def match(self, steps: Steps) -> Iterator[tuple[int, Steps]]:
        """Yield ``(index, remaining steps)`` of each way that the steps may begin with."""
        before = 0
        for option in self.options:
            for index, rest in option.match(steps):
                yield before + index, rest
            before += option.size
        if self.optional:
            yield before, steps


Stage: TypeAlias = PassSlot | Chain | AnyOf


def slots_of(stage: Stage) -> Iterator[PassSlot]:
    """Yield every pass below a stage, in order."""
    if isinstance(stage, PassSlot):
        yield stage
        return
    for inner in stage.stages if isinstance(stage, Chain) else stage.options:
        yield from slots_of(inner)


@dataclass(frozen=True)
class Space:
    """All candidates of a configuration.

    Two alternatives may give the same recipe; such a candidate has several numbers, and `index`
    returns the first.

    Attributes:
        stages: The passes in order.
        providers: Execution providers to try.
        threads: Thread counts to try.
    """

    stages: tuple[Stage, ...]
    providers: tuple[str, ...] = ("cpu",)
    threads: tuple[int, ...] = (1,)

    @cached_property
    def _chain(self) -> Chain:
        return Chain(self.stages)

    @cached_property
    def _runtimes(self) -> tuple[RuntimeSettings, ...]:
        return tuple(RuntimeSettings(p, t) for p, t in product(self.providers, self.threads))

    @cached_property
    def size(self) -> int:
        """Number of candidates."""
        return self._chain.size * len(self._runtimes)

    @cached_property
    def pass_names(self) -> frozenset[str]:
        """Every pass that any candidate may go through."""
        return frozenset(slot.name for slot in slots_of(self._chain))

    def params_in_common(self, others: Iterable[Candidate] = ()) -> frozenset[tuple[str, str]]:
        """Return ``(pass, parameter)`` pairs with one value wherever that pass stands.

        They tell no candidate from another.

        Args:
            others: Candidates beside the space that are to be distinguished, too.
        """
        values: dict[tuple[str, str], set[str]] = {}
        grids = [(slot.name, slot.grid) for slot in slots_of(self._chain)]
        for candidate in others:
            for step in candidate.recipe:
                grids.append((step.name, {k: (v,) for k, v in step.params.items()}))
        known = {(name, param) for name, grid in grids for param in grid}
        for name, grid in grids:
            for pass_, param in known:
                if pass_ == name:
                    found = values.setdefault((pass_, param), set())
                    found.update(map(canonical, grid[param]) if param in grid else [""])
        return frozenset(key for key, found in values.items() if len(found) == 1)

    def at(self, index: int) -> Candidate:
        """Return a candidate by its number.

        Raises:
            IndexError: The number is not in ``range(size)``.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"no candidate {index} in a space of {self.size}")
        recipe, runtime = divmod(index, len(self._runtimes))
        return Candidate(self._chain.at(recipe), self._runtimes[runtime])

    def index(self, candidate: Candidate) -> int | None:
        """Return a candidate's (first) number, or None if it is not in the space."""
        if candidate.runtime not in self._runtimes:
            return None
        found = [index for index, rest in self._chain.match(candidate.recipe) if not rest]
        if not found:
            return None
        return min(found) * len(self._runtimes) + self._runtimes.index(candidate.runtime)

    def __iter__(self) -> Iterator[Candidate]:
        """Yield every candidate; neighbours share prefixes."""
        return (self.at(index) for index in range(self.size))


def _position(values: Sequence[Json], value: Json) -> int | None:
    text = canonical(value)
    return next((i for i, known in enumerate(values) if canonical(known) == text), None)


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
