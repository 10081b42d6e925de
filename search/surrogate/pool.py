"""Which candidates are compared at an ask: all of a small space, a sample of a large one."""

from __future__ import annotations

import random
from collections.abc import Container, Sequence
from functools import cached_property

from paretune.core.candidate import Candidate
from paretune.search.choices import Choice
from paretune.search.space import Space
from paretune.search.strategies.proposing import choices, choices_of, propose
from paretune.search.surrogate.encoding import Encoding

WHOLE = 1000
"""Largest space all of which is compared at each ask."""
_BATCHES, _BATCH = 5, 100
"""The sample is renewed by a batch at each ask: what is known of the others is used again."""
_SAMPLE = 2 * _BATCH
_CHILDREN = 10
_CHANGED = 0.15


class Pool:
    """Candidates to compare; it is a function of the seed and of what it is asked for.

    Args:
        space: The space.
        encoding: Gets the codes of what is drawn.
        seed: Makes it repeatable.
    """

    def __init__(self, space: Space, encoding: Encoding, seed: int) -> None:
        self._space = space
        self._encoding = encoding
        self._seed = seed
        self._choices = choices(space)
        self._drawn: dict[int, list[Candidate]] = {}

    @property
    def whole(self) -> bool:
        """Whether every candidate of the space is compared."""
        return self._space.size <= WHOLE

    @cached_property
    def _every(self) -> list[Candidate]:
        return list({c.digest: c for c in self._space}.values())

    @cached_property
    def sample(self) -> list[Candidate]:
        """Candidates drawn from the whole space, the same at every ask."""
        if self.whole:
            return random.Random(self._seed).sample(self._every, min(_SAMPLE, len(self._every)))
        return self._batch(-1) + self._batch(-2)

    def candidates(
        self, ask: int, near: Sequence[Candidate], seen: Container[str]
    ) -> list[Candidate]:
        """Return candidates that were not seen.

        Args:
            ask: The number of results so far.
            near: Good candidates: what differs from them in a few choices is added.
            seen: Digests of candidates to leave out.
        """
        if self.whole:
            return [c for c in self._every if c.digest not in seen]
        batches = range(max(0, ask - _BATCHES + 1), ask + 1)
        self._drawn = {n: self._drawn.get(n) or self._batch(n) for n in batches}
        draw = random.Random(f"{self._seed}/near/{ask}")
        found = [c for batch in self._drawn.values() for c in batch]
        return self._unseen([*found, *self.around(near, draw)], seen)

    def around(self, candidates: Sequence[Candidate], draw: random.Random) -> list[Candidate]:
        """Return candidates that differ from some of the space in a few choices.

        Half of them differ from one choice on: what is built up to there is used again.
        """
        return [
            self._child(taken, draw, from_one_on=bool(number % 2))
            for candidate in candidates
            for taken in [self._positions(candidate)]
            if taken
            for number in range(_CHILDREN)
        ]

    def unseen_around(
        self, candidates: Sequence[Candidate], draw: random.Random, seen: Container[str]
    ) -> list[Candidate]:
        """Return those of `around` that were not seen."""
        return self._unseen(self.around(candidates, draw), seen)

    def _positions(self, candidate: Candidate) -> dict[str, int]:
        chosen = choices_of(self._space, candidate)
        return {} if chosen is None else chosen.positions

    def _batch(self, number: int) -> list[Candidate]:
        draw = random.Random(f"{self._seed}/batch/{number}")
        return [self._child({}, draw, from_one_on=False) for _ in range(_BATCH)]

    def _child(self, taken: dict[str, int], draw: random.Random, *, from_one_on: bool) -> Candidate:
        names = [name for name in taken if len(self._choices[name].values) > 1]
        if from_one_on and names:
            anew = set(names[draw.randrange(len(names)) :])
        else:
            anew = {name for name in names if draw.random() < _CHANGED}
            anew |= {draw.choice(names)} if names else set()
        positions: dict[str, int] = {}

        def choose(choice: Choice) -> int:
            known = choice.name in taken and choice.name not in anew
            position = taken[choice.name] if known else draw.randrange(len(choice.values))
            positions[choice.name] = position
            return position

        candidate = propose(self._space, choose)
        self._encoding.note(candidate, positions)
        return candidate

    @staticmethod
    def _unseen(candidates: Sequence[Candidate], seen: Container[str]) -> list[Candidate]:
        return list({c.digest: c for c in candidates if c.digest not in seen}.values())
