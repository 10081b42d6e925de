"""Which candidate of a space stands for a candidate of another one.

The passes have to be the same in the same order. Of a parameter the value itself is looked for,
else, of numbers, the nearest value of the grid if it reaches that far. A parameter that had one
value in the whole other study may have another one here: it is what the two studies differ in.
Runtime settings that this space lacks are reported: only metrics that do not depend on the device
can then be used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.jsontools import Json
from paretune.search.choices import Choice
from paretune.search.space import AnyOf, Chain, PassSlot, Space, Stage
from paretune.search.stages import value_text

Defaults = Callable[[str], Mapping[str, Json]]
"""Given a pass, return what its parameters are where a recipe leaves them out."""
_RUNTIME = "runtime"
_Best = tuple[float, tuple[Step, ...]]


@dataclass(frozen=True)
class Mapped:
    """What stands for a candidate of another space.

    Attributes:
        candidate: Of this space.
        distance: How far its values are from those of the other one; 0: it has them all.
        settings: Whether it has the runtime settings, too.
    """

    candidate: Candidate
    distance: float
    settings: bool


class SpaceMapping:
    """Finds what stands for the candidates of another study.

    Args:
        space: This space.
        others: The candidates of the other study.
        defaults: Of each pass.
    """

    def __init__(self, space: Space, others: Iterable[Candidate], defaults: Defaults) -> None:
        self._space = space
        self._defaults = defaults
        found: dict[tuple[str, str], set[str]] = {}
        for candidate in others:
            for step in candidate.recipe:
                for name, value in {**defaults(step.name), **step.params}.items():
                    found.setdefault((step.name, name), set()).add(value_text(value))
            for name, value in candidate.runtime.settings.items():
                found.setdefault((_RUNTIME, name), set()).add(value_text(value))
        self._one_value = {key for key, values in found.items() if len(values) == 1}
        self._misfits: list[str] = []

    def of(self, candidate: Candidate) -> Mapped | str:
        """Return what stands for a candidate, or why nothing does."""
        self._misfits = []
        best = self._best(self._space.stages, candidate.recipe, {})
        if best is None:
            passes = " > ".join(step.name for step in candidate.recipe) or "no pass"
            fallback = f"this space has no recipe of {passes}"
            return self._misfits[-1] if self._misfits else fallback
        distance, steps = best
        runtimes = self._space.runtimes_of(self._space.kind_of(steps))
        for grid in runtimes.grids:
            named = grid.name == candidate.runtime.name
            only = len(runtimes.grids) == 1 and "" in (grid.name, candidate.runtime.name)
            found = self._settings(grid.grid, candidate.runtime) if named or only else None
            if found is not None:
                settings = grid.settings(found[1])
                return Mapped(Candidate(steps, settings), distance + found[0], True)
        return Mapped(Candidate(steps, runtimes.at(0)), distance, False)

    def _settings(
        self, grid: Mapping[str, tuple[Json, ...]], runtime: RuntimeSettings
    ) -> tuple[float, dict[str, Json]] | None:
        given, chosen, distance = runtime.settings, dict[str, Json](), 0.0
        for name, values in grid.items():
            found = self._nearest(_RUNTIME, name, Choice(name, values), given.get(name))
            if found is None:
                return None
            distance += found[0]
            chosen[name] = found[1]
        return distance, chosen

    def _best(
        self,
        stages: tuple[Stage, ...],
        recipe: tuple[Step, ...],
        known: dict[tuple[int, ...], _Best | None],
    ) -> _Best | None:
        """Return the nearest way through stages with the passes of a recipe."""
        if not stages:
            return None if recipe else (0.0, ())
        key = (len(recipe), *map(id, stages))
        if key not in known:
            found = list(self._ways(stages, recipe, known))
            known[key] = min(found, key=lambda way: way[0]) if found else None
        return known[key]

    def _ways(
        self,
        stages: tuple[Stage, ...],
        recipe: tuple[Step, ...],
        known: dict[tuple[int, ...], _Best | None],
    ) -> Iterable[_Best]:
        head, rest = stages[0], stages[1:]
        tails: list[tuple[Stage, ...]] = []
        if isinstance(head, Chain):
            tails.append((*head.stages, *rest))
        elif isinstance(head, AnyOf):
            tails += [(option, *rest) for option in head.options]
            tails += [rest] if head.optional else []
        else:
            tails += [rest] if head.optional else []
            if recipe and recipe[0].name == head.name:
                step = self._step(head, recipe[0])
                after = None if step is None else self._best(rest, recipe[1:], known)
                if step is not None and after is not None:
                    yield step[0] + after[0], (step[1], *after[1])
        for tail in tails:
            found = self._best(tail, recipe, known)
            if found is not None:
                yield found

    def _step(self, slot: PassSlot, step: Step) -> tuple[float, Step] | None:
        given = {**self._defaults(step.name), **step.params}
        chosen, distance = dict[str, Json](), 0.0
        for name, values in slot.grid.items():
            log = bool(slot.ranges.get(name, {}).get("log", False))
            choice = Choice(name, values, declared_log=log)
            found = self._nearest(step.name, name, choice, given.get(name))
            if found is None:
                return None
            distance += found[0]
            chosen[name] = found[1]
        for name in given.keys() - slot.grid.keys():
            usual = self._defaults(step.name).get(name)
            if value_text(given[name]) != value_text(usual) and not self._is_one(step.name, name):
                self._misfit(step.name, name, given[name])
                return None
        return distance, Step(step.name, chosen)

    def _is_one(self, owner: str, name: str) -> bool:
        return (owner, name) in self._one_value

    def _misfit(self, owner: str, name: str, value: Json) -> None:
        self._misfits.append(f"{owner}.{name} = {value_text(value)} is not in this space")

    def _nearest(
        self, owner: str, name: str, choice: Choice, value: Json
    ) -> tuple[float, Json] | None:
        """Return the value that stands for another one, and how far it is from it."""
        text = value_text(value)
        for here in choice.values:
            if value_text(here) == text:
                return 0.0, here
        if len(choice.values) == 1 and self._is_one(owner, name):
            return 0.0, choice.values[0]
        numbers = choice.numbers
        if numbers is None or len(numbers) < 2 or type(value) not in (int, float):
            self._misfit(owner, name, value)
            return None
        low, high = min(numbers), max(numbers)
        if not low <= value <= high:
            self._misfit(owner, name, value)
            return None

        def scale(number: float) -> float:
            return math.log(number) if choice.log else number

        width = scale(high) - scale(low)
        far = [abs(scale(n) - scale(value)) / width for n in numbers]
        nearest = min(range(len(numbers)), key=far.__getitem__)
        return far[nearest] ** 2, choice.values[nearest]
