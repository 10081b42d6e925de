"""Which candidates were not seen yet: the nearest one to a proposal, and any.

Both are functions of the set of seen candidates alone, so that a resumed search finds the same.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping

from paretune.core.candidate import Candidate
from paretune.search.choices import Choice
from paretune.search.space import Space
from paretune.search.strategies.proposing import Choose, choices, choices_of, propose

_NEAR = 400
"""Neighbours that are tried before any other candidate is as good."""
_CATEGORIES = 4
"""Other categories of one choice that are neighbours: of a thousand alternatives not all."""
_TRIES = 32
_FEW = 64


class Unseen:
    """Keeps what was seen of a space.

    Args:
        space: The space.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._seen: set[str] = set()
        self._forks = {c.parent[0] for c in choices(space).values() if c.parent is not None}
        self._below: dict[tuple[int, ...], int] = {}
        self._full: set[tuple[int, ...]] = set()
        self._left: list[tuple[int, str]] | None = None

    def __len__(self) -> int:
        """Return how many candidates were seen, inside the space or not."""
        return len(self._seen)

    def __contains__(self, candidate: Candidate) -> bool:
        """Return whether a candidate was not seen."""
        return candidate.digest not in self._seen

    def see(self, candidate: Candidate) -> None:
        """Note that a candidate was seen."""
        if candidate.digest in self._seen:
            return
        self._seen.add(candidate.digest)
        for taken, count in self._space.tree.forks(candidate):
            self._below[taken] = self._below.get(taken, 0) + 1
            if self._below[taken] == count:
                self._full.add(taken)

    def propose(self, choose: Choose, draw: random.Random) -> Candidate:
        """Walk through the space by a sampler's choices, past what was seen as a whole.

        A stage that is left out, say, is one candidate: seen once, it would be chosen again and
        again, as its category has so few results.

        Args:
            choose: What the sampler takes at each choice.
            draw: Decides in place of it where it chooses an alternative that was seen wholly.
        """
        taken: tuple[int, ...] = ()

        def guided(choice: Choice) -> int:
            nonlocal taken
            position = choose(choice)
            if choice.name in self._forks and (*taken, position) in self._full:
                others = range(len(choice.values))
                position = draw.choice(
                    [p for p in others if (*taken, p) not in self._full] or [position]
                )
            taken = (*taken, position)
            return position

        return propose(self._space, guided)

    def nearest(self, candidate: Candidate, draw: random.Random) -> Candidate | None:
        """Return an unseen candidate in as few changes of one choice each as there are.

        A change takes the next lower or higher value of an ordered choice, or another category.
        Other alternatives, and with or without an optional stage, come after that: what is in them
        is another candidate altogether.

        Args:
            candidate: Of the space.
            draw: Decides between those that are equally near, and what a changed alternative has.

        Returns:
            Any unseen candidate if none is near; None if all were seen.
        """
        found = choices_of(self._space, candidate)
        start = {} if found is None else found.positions
        waiting, known = deque([start]), {tuple(start.values())}
        while waiting and len(known) < _NEAR:
            for taken in self._changes(waiting.popleft(), draw):
                if tuple(taken.values()) not in known:
                    known.add(tuple(taken.values()))
                    waiting.append(taken)
                    near = self._taking(taken, draw)
                    if near in self:
                        return near
        others = (self._taking(taken, draw) for taken in self._changes(start, draw, forks=True))
        return next((other for other in others if other in self), None) or self.any(draw)

    def _changes(
        self, positions: Mapping[str, int], draw: random.Random, *, forks: bool = False
    ) -> list[dict[str, int]]:
        """Return what one change leads to, of the forks (what others depend on) or of the rest."""
        known = choices(self._space)
        changed = [
            {**positions, name: other}
            for name, position in positions.items()
            if (name in self._forks) == forks
            for other in _beside(known[name], position, draw)
        ]
        draw.shuffle(changed)
        return changed

    def _taking(self, taken: Mapping[str, int], draw: random.Random) -> Candidate:
        """Return a candidate that takes these positions, and any at choices that are new."""

        def choose(choice: Choice) -> int:
            position = taken.get(choice.name)
            return draw.randrange(len(choice.values)) if position is None else position

        return propose(self._space, choose)

    def any(self, draw: random.Random) -> Candidate | None:
        """Return an unseen candidate at random; None if there is none."""
        size = self._space.size
        if size <= 2 * len(self._seen) + _FEW:
            return self._of_those_left(draw)
        for _ in range(_TRIES):
            candidate = self._space.at(draw.randrange(size))
            if candidate in self:
                return candidate
        return self._after(draw)

    def _of_those_left(self, draw: random.Random) -> Candidate | None:
        """Return one of the few that are left, which are listed once."""
        if self._left is None:
            self._left = [(i, self._space.at(i).digest) for i in range(self._space.size)]
        self._left = [(i, digest) for i, digest in self._left if digest not in self._seen]
        return self._space.at(draw.choice(self._left)[0]) if self._left else None

    def _after(self, draw: random.Random) -> Candidate | None:
        """Return the first one after a random number: most recipes have several numbers here."""
        start = draw.randrange(self._space.size)
        for offset in range(self._space.size):
            candidate = self._space.at((start + offset) % self._space.size)
            if candidate in self:
                return candidate
        return None


def _beside(choice: Choice, position: int, draw: random.Random) -> list[int]:
    count = len(choice.values)
    if choice.ordered:
        rank = choice.ranks[position]
        return [choice.by_rank[r] for r in (rank - 1, rank + 1) if 0 <= r < count]
    if count <= _CATEGORIES + 1:
        return [other for other in range(count) if other != position]
    return [(position + 1 + step) % count for step in draw.sample(range(count - 1), _CATEGORIES)]
