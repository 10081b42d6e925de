"""One decision on the way to a candidate, with what a model of it needs to know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from paretune.core.jsontools import Json
from paretune.search.stages import value_text


@dataclass(frozen=True)
class Choice:
    """A parameter, a runtime's setting, an alternative of `any:` or an optional stage.

    Attributes:
        name: Its place: ``0.lora.r``, ``2.any``, ``1.merge``, ``runtime.threads``.
        values: What can be chosen. Of `any:` and of an optional stage these are words.
        parent: ``(choice, position)``: this choice exists only where that choice takes that
            position (an alternative, or ``with``). None: it does not depend on another one.
        always: Whether every candidate has this choice. Without a parent it may still be missing:
            settings of a runtime exist where the recipe ends with a kind of model that it runs.
        in_words: Whether values are shown as words (``cpu``) and not as JSON (``"cpu"``).
        declared_log: Whether it was given as a logarithmic range.
    """

    name: str
    values: tuple[Json, ...]
    parent: tuple[str, int] | None = None
    always: bool = True
    in_words: bool = False
    declared_log: bool = False

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The text of each value; no two are equal."""
        if self.in_words:
            words = tuple(map(str, self.values))
            if len(set(words)) == len(words):
                return words
        return tuple(map(value_text, self.values))

    @property
    def ordered(self) -> bool:
        """Whether the values are numbers, so that near ones can be expected to do alike."""
        return self.numbers is not None

    @cached_property
    def numbers(self) -> tuple[float, ...] | None:
        """The values as numbers, one each in the same order; None where they are categories.

        Booleans, a number beside a word, and equal numbers (1 and 1.0) are categories.
        """
        if not all(type(value) in (int, float) for value in self.values):
            return None
        numbers = tuple(map(float, self.values))
        return numbers if len(set(numbers)) == len(numbers) else None

    @cached_property
    def log(self) -> bool:
        """Whether the numbers stand on a logarithmic scale.

        As a range says; a list is logarithmic if its neighbours' ratios are more alike than their
        distances: ``[32, 64, 128]`` is, ``[1, 2, 3]`` is not.
        """
        if self.numbers is None:
            return False
        if self.declared_log:
            return True
        ascending = sorted(self.numbers)
        if len(ascending) < 3 or ascending[0] <= 0:
            return False
        return _unevenness([math.log(n) for n in ascending]) < _unevenness(ascending)

    @cached_property
    def by_rank(self) -> Sequence[int]:
        """Positions of the values in ascending order of their numbers; as they stand if none."""
        count = range(len(self.values))
        if self.numbers is None or all(a < b for a, b in pairwise(self.numbers)):
            return count
        return sorted(count, key=self.numbers.__getitem__)

    @cached_property
    def ranks(self) -> Sequence[int]:
        """Of each position its place in `by_rank`."""
        if isinstance(self.by_rank, range):
            return self.by_rank
        found = [0] * len(self.values)
        for rank, position in enumerate(self.by_rank):
            found[position] = rank
        return found


def _unevenness(ascending: Sequence[float]) -> float:
    gaps = [b - a for a, b in pairwise(ascending)]
    return max(gaps) / min(gaps)
