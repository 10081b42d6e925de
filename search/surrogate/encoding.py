"""Candidates as rows of numbers.

The columns are the parameters of each stage's passes, and the way through the stage: which passes
it runs. Alternatives of one pass share the columns of its parameters, so that what one of them
teaches of `precision: int4` is known of the others.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from paretune.core.candidate import Candidate
from paretune.search.choices import Choice
from paretune.search.space import Space
from paretune.search.stages import AnyOf, PassSlot, Stage, slots_of, value_text
from paretune.search.strategies.proposing import choices, choices_of
from paretune.search.surrogate.layout import ABSENT, Layout, Matrix

RUNTIME = "runtime"
_MOST_WAYS = 64
"""Of more ways through a stage there is no column."""
_MOST_DRAWN = 10_000
"""The row of a candidate that is only compared is kept until so many others were compared since."""

_Key = tuple[int, str, int, str]
"""Stage, pass, how many of this pass come before it in the stage, and parameter."""
_Way = tuple[str, ...]


@dataclass(frozen=True)
class _Column:
    place: int
    stage: int
    ordered: bool
    codes: Mapping[str, float]


class Encoding:
    """What the columns of a space are, and the codes of its candidates.

    What is the same for every candidate has no column. The code of an ordered value is its place
    between the smallest (0) and the largest (1), that of another one its position.

    Args:
        space: The space.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._columns: dict[_Key | str, _Column] = {}
        self._ways: dict[int, Mapping[_Way, float]] = {}
        for number, stage in enumerate(space.stages):
            self._add_stage(number, stage)
        last = len(space.stages)
        self.recipe_columns = list(range(len(self._columns)))
        for choice in choices(space).values():
            if choice.name.split(".", 1)[0] == RUNTIME and len(choice.values) > 1:
                self._add(choice.name, last, choice)
        columns = list(self._columns.values())
        numbers = {stage: n for n, stage in enumerate(dict.fromkeys(c.stage for c in columns))}
        self.layout = Layout(
            tuple(c.ordered for c in columns), tuple(numbers[c.stage] for c in columns)
        )
        self._rows: dict[str, Matrix] = {}
        self._drawn: dict[str, Matrix] = {}

    def _add_stage(self, number: int, stage: Stage) -> None:
        ways = _ways(stage)
        if ways is not None and len(ways) > 1:
            self._ways[number] = {way: float(n) for n, way in enumerate(ways)}
            self._columns[f"{number}"] = _Column(len(self._columns), number, False, {})
        slots: dict[str, list[PassSlot]] = {}
        for slot in slots_of(stage):
            slots.setdefault(slot.name, []).append(slot)
        for name, alike in slots.items():
            most = _most_often(stage, name)
            parameters = dict.fromkeys(param for slot in alike for param in slot.grid)
            for before, param in product(range(most), parameters):
                values = {value_text(v): v for s in alike for v in s.grid.get(param, ())}
                if len(values) > 1 or any(param not in slot.grid for slot in alike):
                    log = any(slot.ranges.get(param, {}).get("log") for slot in alike)
                    taken = Choice(param, tuple(values.values()), declared_log=bool(log))
                    self._add((number, name, before, param), number, taken)

    def _add(self, key: _Key | str, stage: int, choice: Choice) -> None:
        texts = map(value_text, choice.values)
        codes = dict(zip(texts, _codes(choice), strict=True))
        self._columns[key] = _Column(len(self._columns), stage, choice.ordered, codes)

    def note(self, candidate: Candidate, positions: Mapping[str, int]) -> None:
        """Note what a candidate takes, so that it need not be looked up.

        Args:
            candidate: One of the space.
            positions: What it takes at each choice on its way, by name.
        """
        if candidate.digest not in self._rows and candidate.digest not in self._drawn:
            self._compared(candidate, self._row_of(candidate, positions))

    def row(self, candidate: Candidate) -> Matrix | None:
        """Return the codes of a candidate, and keep them; None: it is not in the space."""
        found = self._known(candidate)
        if found is not None:
            self._rows[candidate.digest] = found
        return found

    def rows(self, candidates: Sequence[Candidate]) -> Matrix:
        """Return the codes of candidates of the space, one row each."""
        found = np.empty((len(candidates), len(self._columns)))
        for place, candidate in enumerate(candidates):
            row = self._known(candidate)
            assert row is not None, "every candidate is in the space"
            if candidate.digest not in self._rows:
                self._compared(candidate, row)
            found[place] = row
        return found

    def _compared(self, candidate: Candidate, row: Matrix) -> None:
        self._drawn[candidate.digest] = row
        if len(self._drawn) > _MOST_DRAWN:
            del self._drawn[next(iter(self._drawn))]

    def _known(self, candidate: Candidate) -> Matrix | None:
        """Return a row, which is taken from those that are only compared if it is there."""
        if candidate.digest in self._rows:
            return self._rows[candidate.digest]
        if candidate.digest in self._drawn:
            return self._drawn.pop(candidate.digest)
        chosen = choices_of(self._space, candidate)
        return None if chosen is None else self._row_of(candidate, chosen.positions)

    def _row_of(self, candidate: Candidate, positions: Mapping[str, int]) -> Matrix:
        row = self._recipe_row(candidate, len(candidate.recipe))
        for name, position in positions.items():
            column = self._columns.get(name) if name.startswith(RUNTIME) else None
            if column is not None:
                row[column.place] = list(column.codes.values())[position]
        return row

    def _recipe_row(self, candidate: Candidate, known: int) -> Matrix:
        """Return the codes of the first steps of a recipe; of what follows there are none."""
        row, recipe = np.full(len(self._columns), ABSENT), candidate.recipe
        start = 0
        for number, end in enumerate(self._ends(candidate)):
            if end > known:
                break
            way = tuple(step.name for step in recipe[start:end])
            if number in self._ways and (end > start or known == len(recipe)):
                row[self._columns[f"{number}"].place] = self._ways[number][way]
            for place, step in enumerate(recipe[start:end]):
                before = way[:place].count(step.name)
                for param, value in step.params.items():
                    column = self._columns.get((number, step.name, before, param))
                    if column is not None:
                        row[column.place] = column.codes[value_text(value)]
            start = end
        return row

    def _ends(self, candidate: Candidate) -> list[int]:
        """Return after how many steps of a recipe each stage ends."""
        stages = self._space.tree.stages_of(candidate)
        assert stages is not None, "the candidate is in the space"
        return [bisect_right(stages, number) for number in range(len(self._space.stages))]

    def parent_row(self, candidate: Candidate, steps: int) -> Matrix | None:
        """Return the codes of what the first steps of a recipe have built.

        Args:
            candidate: One whose recipe begins with them.
            steps: How many they are.

        Returns:
            Its own codes, without those of later stages and of the runtime; None: the candidate is
            not in the space, or nothing follows these steps.
        """
        if self.row(candidate) is None or steps >= len(candidate.recipe):
            return None
        return self._recipe_row(candidate, steps)


def _ways(stage: Stage) -> list[_Way] | None:
    """Return which passes a stage can run, each way once; None: there are more than `_MOST_WAYS`.

    A part of a stage has no more ways than the whole, so that none is computed beyond that number.
    """
    found: dict[_Way, None] = {}
    if isinstance(stage, PassSlot):
        found[(stage.name,)] = None
    elif isinstance(stage, AnyOf):
        for option in stage.options:
            of_option = _ways(option)
            if of_option is None:
                return None
            found.update(dict.fromkeys(of_option))
    else:
        found[()] = None
        for part in stage.stages:
            following = _ways(part)
            if following is None:
                return None
            found = dict.fromkeys(begun + way for begun in found for way in following)
            if len(found) > _MOST_WAYS:
                return None
    if getattr(stage, "optional", False):
        found[()] = None
    return list(found) if len(found) <= _MOST_WAYS else None


def _most_often(stage: Stage, name: str) -> int:
    """Return how often at most a stage runs a pass."""
    if isinstance(stage, PassSlot):
        return int(stage.name == name)
    if isinstance(stage, AnyOf):
        return max((_most_often(option, name) for option in stage.options), default=0)
    return sum(_most_often(part, name) for part in stage.stages)


def _codes(choice: Choice) -> list[float]:
    if choice.numbers is None:
        return [float(n) for n in range(len(choice.values))]
    scale = [math.log(v) for v in choice.numbers] if choice.log else list(choice.numbers)
    low, width = min(scale), max(scale) - min(scale)
    return [(v - low) / width if width else 0.0 for v in scale]
