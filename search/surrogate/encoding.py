"""Candidates as rows of numbers: one column per choice of a space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from paretune.core.candidate import Candidate
from paretune.search.choices import Choice
from paretune.search.space import Space
from paretune.search.stages import slots_of
from paretune.search.strategies.proposing import choices, choices_of
from paretune.search.surrogate.layout import ABSENT, Layout, Matrix

RUNTIME = "runtime"


class Encoding:
    """What the columns of a space are, and the codes of its candidates.

    A choice of one value has no column. The code of an ordered value is its place between the
    smallest (0) and the largest (1), that of another one its position.

    Args:
        space: The space.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        columns = [c for c in choices(space).values() if len(c.values) > 1]
        self._codes = {c.name: (n, _codes(c)) for n, c in enumerate(columns)}
        stages = [c.name.split(".", 1)[0] for c in columns]
        numbers = {stage: n for n, stage in enumerate(dict.fromkeys(stages))}
        self.layout = Layout(tuple(c.ordered for c in columns), tuple(numbers[s] for s in stages))
        self.recipe_columns = [n for n, stage in enumerate(stages) if stage != RUNTIME]
        self.columns = range(len(columns))
        self._rows: dict[str, Matrix] = {}

    def row_of(self, positions: Mapping[str, int]) -> Matrix:
        """Return the codes of a candidate that takes these positions, by choice."""
        row = np.full(len(self._codes), ABSENT)
        for name, position in positions.items():
            if name in self._codes:
                column, codes = self._codes[name]
                row[column] = codes[position]
        return row

    def note(self, candidate: Candidate, positions: Mapping[str, int]) -> None:
        """Note what a candidate takes, so that it need not be looked up."""
        if candidate.digest not in self._rows:
            self._rows[candidate.digest] = self.row_of(positions)

    def row(self, candidate: Candidate) -> Matrix | None:
        """Return the codes of a candidate; None: it is not in the space."""
        found = self._rows.get(candidate.digest)
        if found is None:
            chosen = choices_of(self._space, candidate)
            if chosen is None:
                return None
            found = self._rows[candidate.digest] = self.row_of(chosen.positions)
        return found

    def parent_row(self, candidate: Candidate, steps: int) -> Matrix | None:
        """Return the codes of what the first steps of a recipe have built.

        Args:
            candidate: One whose recipe begins with them.
            steps: How many they are.

        Returns:
            Its own codes, without the choices of the later stages; None: the candidate is not in
            the space, or no later stage has such a pass.
        """
        row = self.row(candidate)
        if row is None or steps >= len(candidate.recipe):
            return None
        following = candidate.recipe[steps].name
        places = [
            place
            for place, stage in enumerate(self._space.stages)
            if any(slot.name == following for slot in slots_of(stage))
        ]
        if not places:
            return None
        found = row.copy()
        for name, (column, _) in self._codes.items():
            stage = name.split(".", 1)[0]
            if stage == RUNTIME or int(stage) >= places[-1]:
                found[column] = ABSENT
        return found

    def rows(self, candidates: Sequence[Candidate]) -> Matrix:
        """Return the codes of candidates of the space, one row each."""
        found = [self.row(candidate) for candidate in candidates]
        assert all(row is not None for row in found), "every candidate is in the space"
        return np.array(found, dtype=float).reshape(len(candidates), len(self._codes))


def _codes(choice: Choice) -> list[float]:
    if choice.numbers is None:
        return [float(n) for n in range(len(choice.values))]
    scale = [math.log(v) for v in choice.numbers] if choice.log else list(choice.numbers)
    low, width = min(scale), max(scale) - min(scale)
    return [(v - low) / width for v in scale]
