"""A space's stages as a graph to walk through: counted, numbered and named once.

A node is what is left to decide: the stages after a place, and the kind of the model there. Its
ways lead through a pass, into an alternative or past an optional stage. A place fixes the stages
that follow it, so there are as many nodes as stages and kinds, whatever the number of candidates.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import TypeAlias

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.jsontools import Json
from paretune.search.choices import Choice
from paretune.search.runtime_grids import Runtimes, RuntimesByKind
from paretune.search.stages import AnyOf, Chain, LookAhead, PassSlot, Stage, Steps, first_name

Choose: TypeAlias = Callable[[Choice], int]
"""Given a choice, return the position of the value that is taken."""

_WITH = ("with", "without")


@dataclass(frozen=True)
class _Left:
    """Stages that are left, as a linked list."""

    stage: Stage
    place: str
    then: _Left | None


def _before(stages: tuple[Stage, ...], places: str, then: _Left | None) -> _Left | None:
    for position in reversed(range(len(stages))):
        then = _Left(stages[position], f"{places}{position}", then)
    return then


@dataclass(frozen=True)
class _Way:
    """A way out of a node.

    Attributes:
        count: How many values it has.
        slot: The pass that it goes through, if any.
        name: Of that pass, with its place.
        node: Where it leads.
    """

    count: int
    slot: PassSlot | None
    name: str
    node: _Node


@dataclass(eq=False)
class _Node:
    """What is left to decide.

    Attributes:
        kind: Of the model.
        fork: Name of the choice between the ways; empty where there is one way, or none.
        ways: In order; none: the recipe ends here.
        begins: Name of the next step to the ways that may begin with it; ``""``: there is none.
        starts: Number of each way's first candidate, counted from this node.
        size: Number of candidates from here.
    """

    kind: str
    fork: str = ""
    ways: tuple[_Way, ...] = ()
    begins: dict[str, list[int]] = field(default_factory=dict)
    starts: tuple[int, ...] = ()
    size: int = 0


_Taken: TypeAlias = tuple["_Node", int, list[int]]
"""A node, the position of the way out of it, and the digits of its pass."""


class Tree:
    """All ways through a space.

    Args:
        stages: The passes in order.
        everywhere: The settings that every model is run with.
        by_kind: In place of them: the settings for each kind of model.
        look_ahead: Applied to each recipe, if there is any.
    """

    def __init__(
        self,
        stages: tuple[Stage, ...],
        everywhere: Runtimes,
        by_kind: RuntimesByKind | None,
        look_ahead: LookAhead | None = None,
    ) -> None:
        self._look_ahead = look_ahead
        self._stages = stages
        self._everywhere = everywhere
        self._by_kind = by_kind
        self._nodes: dict[tuple[str, str], _Node] = {}
        begin = "" if by_kind is None else by_kind.input
        self._root = self._node(_before(stages, "", None), begin)

    @property
    def size(self) -> int:
        """Number of candidates."""
        return self._root.size

    @cached_property
    def builds(self) -> Mapping[str, int]:
        """How often each pass stands at the end of a prefix of a recipe: its different builds.

        A recipe that two alternatives give counts twice.
        """
        found: dict[str, int] = {}
        # A node is made after all that its ways lead to: the other way round is from the root on.
        reached = {id(self._root): 1}
        for node in reversed(self._nodes.values()):
            for way in node.ways:
                ways = reached.get(id(node), 0) * way.count
                reached[id(way.node)] = reached.get(id(way.node), 0) + ways
                if way.slot is not None:
                    found[way.slot.name] = found.get(way.slot.name, 0) + ways
        return found

    def runtimes_of(self, kind: str) -> Runtimes:
        """Return the settings that models of a kind are run with."""
        return self._everywhere if self._by_kind is None else self._by_kind.settings[kind]

    def _node(self, left: _Left | None, kind: str) -> _Node:
        while left is not None and isinstance(left.stage, Chain):
            left = _before(left.stage.stages, f"{left.place}.", left.then)
        key = ("" if left is None else left.place, kind)
        if key not in self._nodes:
            self._nodes[key] = self._made(left, kind)
        return self._nodes[key]

    def _made(self, left: _Left | None, kind: str) -> _Node:
        if left is None:
            return _Node(kind, begins={"": []}, size=self.runtimes_of(kind).size)
        head, place, then = left.stage, left.place, left.then
        ways: list[_Way] = []
        if isinstance(head, PassSlot):
            made = kind if self._by_kind is None else self._by_kind.produces[head.name]
            name = f"{place}.{head.name}"
            ways.append(_Way(head.size - head.optional, head, name, self._node(then, made)))
            fork = name if head.optional else ""
        else:
            assert isinstance(head, AnyOf)
            fork = f"{place}.any"
            for position, option in enumerate(head.options):
                inner = _Left(option, f"{fork}{position}", then)
                ways.append(_Way(1, None, "", self._node(inner, kind)))
        if head.optional:
            ways.append(_Way(1, None, "", self._node(then, kind)))
        begins: dict[str, list[int]] = {}
        for position, way in enumerate(ways):
            for first in way.node.begins if way.slot is None else (way.slot.name,):
                begins.setdefault(first, []).append(position)
        sums = tuple(accumulate((way.count * way.node.size for way in ways), initial=0))
        return _Node(kind, fork, tuple(ways), begins, sums[:-1], sums[-1])

    def at(self, number: int) -> Candidate:
        """Return a candidate by its number, which is in ``range(size)``."""
        node, steps = self._root, list[Step]()
        while node.ways:
            # The last way that begins at or before the number: empty ones are passed over.
            position = bisect_right(node.starts, number) - 1
            way = node.ways[position]
            digit, number = divmod(number - node.starts[position], way.node.size)
            steps += () if way.slot is None else way.slot.at(digit)
            node = way.node
        return Candidate(self._recipe(steps), self.runtimes_of(node.kind).at(number))

    def index(self, candidate: Candidate) -> int | None:
        """Return a candidate's first number; None if it is not in the space."""
        found = self._path(candidate)
        if found is None:
            return None
        number = 0
        for node, position, digits in found:
            way = node.ways[position]
            digit = 0 if way.slot is None else way.slot.number(digits)
            number += node.starts[position] + digit * way.node.size
        end = found[-1][0].ways[found[-1][1]].node if found else self._root
        last = self.runtimes_of(end.kind).index(candidate.runtime)
        assert last is not None
        return number + last

    def _path(self, candidate: Candidate) -> list[_Taken] | None:
        """Return the first way to a candidate, node by node."""
        recipe, dead = candidate.recipe, set[tuple[int, int]]()

        def walk(node: _Node, done: int) -> list[_Taken] | None:
            if not node.ways:
                fits = self.runtimes_of(node.kind).find(candidate.runtime) is not None
                return [] if fits and done == len(recipe) else None
            if (id(node), done) in dead:
                return None
            for position in node.begins.get(recipe[done].name if done < len(recipe) else "", ()):
                way, digits = node.ways[position], list[int]()
                if way.slot is not None:
                    matched = way.slot.digits(recipe[done])
                    if matched is None:
                        continue
                    digits = matched
                rest = walk(way.node, done + (way.slot is not None))
                if rest is not None:
                    rest.append((node, position, digits))
                    return rest
            dead.add((id(node), done))
            return None

        found = walk(self._root, 0)
        if found is None or not self._leads_to(recipe, found):
            return None
        return found[::-1]

    def _recipe(self, steps: list[Step]) -> Steps:
        return tuple(steps) if self._look_ahead is None else self._look_ahead(tuple(steps))

    def _leads_to(self, recipe: Steps, backwards: list[_Taken]) -> bool:
        """Return whether looking ahead from what is declared gives a recipe."""
        if self._look_ahead is None:
            return True
        steps = list[Step]()
        for node, position, digits in reversed(backwards):
            slot = node.ways[position].slot
            steps += () if slot is None else slot.at(slot.number(digits))
        return self._look_ahead(tuple(steps)) == recipe

    def beginning_with(self, step: Step) -> Iterator[range]:
        """Yield the numbers of the candidates whose first step this is, a range at a time."""
        waiting = [(self._root, 0)]
        while waiting:
            node, number = waiting.pop()
            inner = []
            for position in node.begins.get(step.name, ()):
                way, start = node.ways[position], number + node.starts[position]
                if way.slot is None:
                    inner.append((way.node, start))
                    continue
                digits = way.slot.digits(step)
                if digits is not None:
                    start += way.slot.number(digits) * way.node.size
                    yield range(start, start + way.node.size)
            waiting += reversed(inner)

    def forks(self, candidate: Candidate) -> Iterator[tuple[tuple[int, ...], int]]:
        """Yield each fork on the way to a candidate, and how many candidates go the same way.

        Yields:
            What was taken so far, at the fork included, and the number of candidates after that.
        """
        taken: tuple[int, ...] = ()
        for node, position, digits in self._path(candidate) or ():
            way = node.ways[position]
            if node.fork:
                taken = (*taken, position)
                yield taken, way.count * way.node.size
            taken = (*taken, *digits)

    def positions(self, candidate: Candidate) -> dict[str, int] | None:
        """Return what a candidate takes at each choice, by name, in the order of the walk.

        Returns:
            None if the candidate is not in the space.
        """
        path = self._path(candidate)
        if path is None:
            return None
        found, end = dict[str, int](), self._root
        for node, position, digits in path:
            way = node.ways[position]
            if node.fork:
                found[node.fork] = position
            if way.slot is not None:
                names = (f"{way.name}.{param}" for param in way.slot.grid)
                found.update(zip(names, digits, strict=True))
            end = way.node
        runtimes = self.runtimes_of(end.kind)
        held = runtimes.find(candidate.runtime)
        assert held is not None
        place = self._runtime_place(end.kind)
        if len(runtimes.grids) > 1:
            found[f"{place}.name"] = held[0]
            place = f"{place}.{runtimes.grids[held[0]].name}"
        found.update((f"{place}.{name}", digit) for name, digit in held[1].items())
        return found

    def stages_of(self, candidate: Candidate) -> list[int] | None:
        """Return the number of the stage of each step of a candidate's recipe.

        Returns:
            None if the candidate is not in the space.
        """
        path = self._path(candidate)
        if path is None:
            return None
        ways = (node.ways[position] for node, position, _ in path)
        return [int(way.name.partition(".")[0]) for way in ways if way.slot is not None]

    def propose(self, choose: Choose) -> Candidate:
        """Walk through the space, choosing at every fork and for every parameter.

        Args:
            choose: Called once for each choice on the way, in order.
        """
        node, steps = self._root, list[Step]()
        while node.ways:
            way = node.ways[choose(self.choices[node.fork]) if node.fork else 0]
            if way.slot is not None:
                params: dict[str, Json] = {}
                for param, values in way.slot.grid.items():
                    params[param] = values[choose(self.choices[f"{way.name}.{param}"])]
                steps.append(Step(way.slot.name, params))
            node = way.node
        return Candidate(self._recipe(steps), self._runtime(node.kind, choose))

    def _runtime(self, kind: str, choose: Choose) -> RuntimeSettings:
        """Choose a runtime where several run a kind, and then each of its settings."""
        grids, place = self.runtimes_of(kind).grids, self._runtime_place(kind)
        grid = grids[0]
        if len(grids) > 1:
            grid = grids[choose(self.choices[f"{place}.name"])]
            place = f"{place}.{grid.name}"
        return grid.settings(
            {
                name: values[choose(self.choices[f"{place}.{name}"])]
                for name, values in grid.grid.items()
            }
        )

    def _runtime_place(self, kind: str) -> str:
        return "runtime" if self._by_kind is None else f"runtime.{kind}"

    @cached_property
    def choices(self) -> Mapping[str, Choice]:
        """Every choice by its name, in the order of the walk."""
        found = list[Choice]()
        for position, stage in enumerate(self._stages):
            found += _choices_below(stage, str(position), None)
        ends = [kind for place, kind in self._nodes if not place]
        for kind in ends:
            found += self._runtime_choices(kind, always=len(ends) == 1)
        return {choice.name: choice for choice in found}

    def _runtime_choices(self, kind: str, *, always: bool) -> Iterator[Choice]:
        grids, place = self.runtimes_of(kind).grids, self._runtime_place(kind)
        several = len(grids) > 1
        if several:
            names = tuple(grid.name for grid in grids)
            yield Choice(f"{place}.name", names, None, always, in_words=True)
        for position, grid in enumerate(grids):
            under = f"{place}.{grid.name}" if several else place
            parent = (f"{place}.name", position) if several else None
            for name, values in grid.grid.items():
                yield Choice(
                    f"{under}.{name}", values, parent, always and not several, in_words=True
                )


def _choices_below(stage: Stage, place: str, parent: tuple[str, int] | None) -> Iterator[Choice]:
    always = parent is None
    if isinstance(stage, Chain):
        for position, inner in enumerate(stage.stages):
            yield from _choices_below(inner, f"{place}.{position}", parent)
    elif isinstance(stage, PassSlot):
        name = f"{place}.{stage.name}"
        if stage.optional:
            yield Choice(name, _WITH, parent, always, in_words=True)
            parent, always = (name, 0), False
        for param, values in stage.grid.items():
            log = bool(stage.ranges.get(param, {}).get("log", False))
            yield Choice(f"{name}.{param}", values, parent, always, declared_log=log)
    else:
        # An alternative's label holds its place too: two of the same pass are two choices.
        labels = tuple(f"{i} {first_name(option)}" for i, option in enumerate(stage.options))
        labels += ("none",) if stage.optional else ()
        name = f"{place}.any"
        yield Choice(name, labels, parent, always, in_words=True)
        for position, option in enumerate(stage.options):
            yield from _choices_below(option, f"{name}{position}", (name, position))
