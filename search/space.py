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
        """Yield ``(index, remaining steps)`` if the steps may begin with this pass."""
        if steps and steps[0].name == self.name and steps[0].params.keys() == self.grid.keys():
            digits = [_position(values, steps[0].params[n]) for n, values in self.grid.items()]
            if None not in digits:
                index = 0
                for digit, values in zip(digits, self.grid.values(), strict=True):
                    assert digit is not None
                    index = index * len(values) + digit
                yield index, steps[1:]


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


@dataclass(frozen=True)
class _Way:
    """A way into a stage.

    Attributes:
        count: How many values it has.
        slot: The pass that it goes through, if any.
        rest: The stages after it.
        kind: Of the model then.
    """

    count: int
    slot: PassSlot | None
    rest: tuple[Stage, ...]
    kind: str


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
    settings: Mapping[str, tuple[RuntimeSettings, ...]]


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
    """

    stages: tuple[Stage, ...]
    providers: tuple[str, ...] = ("cpu",)
    threads: tuple[int, ...] = (1,)
    by_kind: RuntimesByKind | None = None
    _weights: dict[tuple[tuple[int, ...], str], int] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def _everywhere(self) -> tuple[RuntimeSettings, ...]:
        return tuple(RuntimeSettings(p, t) for p, t in product(self.providers, self.threads))

    def kind_of(self, recipe: Iterable[Step]) -> str:
        """Return the kind of model that a recipe ends with; empty where kinds do not matter."""
        if self.by_kind is None:
            return ""
        last = [self.by_kind.produces[step.name] for step in recipe]
        return last[-1] if last else self.by_kind.input

    def runtimes_of(self, kind: str) -> tuple[RuntimeSettings, ...]:
        """Return the settings that models of a kind are run with."""
        return self._everywhere if self.by_kind is None else self.by_kind.settings[kind]

    @cached_property
    def every_runtime(self) -> tuple[RuntimeSettings, ...]:
        """All settings that any candidate may run with."""
        if self.by_kind is None:
            return self._everywhere
        return tuple(dict.fromkeys(s for each in self.by_kind.settings.values() for s in each))

    def _ways(self, stages: tuple[Stage, ...], kind: str) -> Iterator[_Way]:
        """Yield the ways into the first of some stages, and what is left on each."""
        head, rest = stages[0], stages[1:]
        if isinstance(head, Chain):
            yield _Way(1, None, (*head.stages, *rest), kind)
            return
        if isinstance(head, PassSlot):
            made = kind if self.by_kind is None else self.by_kind.produces[head.name]
            yield _Way(head.size - head.optional, head, rest, made)
        else:
            for option in head.options:
                yield _Way(1, None, (option, *rest), kind)
        if head.optional:
            yield _Way(1, None, rest, kind)

    def _weight(self, stages: tuple[Stage, ...], kind: str) -> int:
        """Return the number of candidates that some stages lead to from a kind of model."""
        if not stages:
            return len(self.runtimes_of(kind))
        key = (tuple(map(id, stages)), kind)
        if key not in self._weights:
            ways = self._ways(stages, kind)
            self._weights[key] = sum(way.count * self._weight(way.rest, way.kind) for way in ways)
        return self._weights[key]

    @property
    def _begin(self) -> str:
        return self.kind_of(())

    @cached_property
    def size(self) -> int:
        """Number of candidates."""
        return self._weight(self.stages, self._begin)

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
        values: dict[tuple[str, str], set[str]] = {}
        grids = [(slot.name, slot.grid) for slot in slots_of(Chain(self.stages))]
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
        stages, kind, steps = self.stages, self._begin, list[Step]()
        while stages:
            for way in self._ways(stages, kind):
                weight = self._weight(way.rest, way.kind)
                if index < way.count * weight:
                    break
                index -= way.count * weight
            digit, index = divmod(index, weight)
            steps += () if way.slot is None else way.slot.at(digit)
            stages, kind = way.rest, way.kind
        return Candidate(tuple(steps), self.runtimes_of(kind)[index])

    def index(self, candidate: Candidate) -> int | None:
        """Return a candidate's (first) number, or None if it is not in the space."""
        if candidate.runtime not in self.every_runtime:
            return None
        return min(
            self._numbers(self.stages, self._begin, candidate.recipe, candidate), default=None
        )

    def _numbers(
        self, stages: tuple[Stage, ...], kind: str, left: Steps, candidate: Candidate
    ) -> Iterator[int]:
        """Yield the numbers of a candidate below some stages, of which it has steps left."""
        if not stages:
            if not left and candidate.runtime in self.runtimes_of(kind):
                yield self.runtimes_of(kind).index(candidate.runtime)
            return
        before = 0
        for way in self._ways(stages, kind):
            weight = self._weight(way.rest, way.kind)
            found = iter([(0, left)]) if way.slot is None else way.slot.match(left)
            for digit, rest in found:
                for number in self._numbers(way.rest, way.kind, rest, candidate):
                    yield before + digit * weight + number
            before += way.count * weight

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
