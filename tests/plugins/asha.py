"""Asynchronous successive halving (Li et al., 2020) as a plug-in strategy.

The rungs are those of the evaluators: each trial is measured roughly, and one in `eta` of those
that have finished a rung, the best by the first objective, goes on to the next one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from itertools import pairwise

from paretune.core.candidate import Candidate
from paretune.core.measurement import Measurement, Rung
from paretune.search.constraints import Objective
from paretune.search.space import Space
from paretune.search.strategies.base import Ended, Event, Measured, Promote, Request, Start, View

RUNGS = (Rung.ROUGH, Rung.FULL)
TRIES = 8


class Asha:
    """Promotes a trial as soon as it is among the best of its rung; otherwise it starts another."""

    eta = 3

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        first: Sequence[Candidate] = (),
    ) -> None:
        self._space, self._objective, self._seed = space, objectives[0], seed
        self._first = list(first)
        self._seen: set[str] = set()
        self._scores: dict[Rung, dict[int, float]] = {rung: {} for rung in RUNGS}

    def ask(self, view: View) -> Request | None:
        """Promote from the highest rung that has a trial to promote; else start a candidate."""
        for rung, above in reversed(list(pairwise(RUNGS))):
            scores = self._scores[rung]
            best = sorted(scores, key=lambda id: (-scores[id], id))[: len(scores) // self.eta]
            for id in best:
                if id in view.paused and view.trials[id].rung is rung:
                    return Promote(id, above)
        candidate = self._unseen()
        if candidate is None:
            return None
        self._seen.add(candidate.digest)
        return Start(candidate, RUNGS[0])

    def tell(self, event: Event) -> None:
        """Note the score of a trial at its rung; one that has ended has it at each."""
        if isinstance(event, Measured):
            self._seen.add(event.trial.candidate.digest)
            if event.trial.rung in self._scores:
                score = self._score(event.trial.measurements)
                self._scores[event.trial.rung][event.trial.id] = score
        elif isinstance(event, Ended):
            self._seen.add(event.result.candidate.digest)
            for scores in self._scores.values():
                scores[event.result.id] = self._score(event.result.measurements or {})

    def _score(self, measured: Mapping[str, Measurement]) -> float:
        """Return the first objective's value, greater is better; without one, the worst."""
        found = measured.get(self._objective.metric)
        if found is None or found.value is None:
            return -math.inf
        return found.value if self._objective.direction == "maximize" else -found.value

    def _unseen(self) -> Candidate | None:
        """Return a candidate at random, the named ones first; None once all were started."""
        for candidate in self._first:
            if candidate.digest not in self._seen:
                return candidate
        draw = random.Random(f"{self._seed}/{len(self._seen)}")
        for _ in range(TRIES):
            candidate = self._space.at(draw.randrange(self._space.size))
            if candidate.digest not in self._seen:
                return candidate
        for candidate in self._space:
            if candidate.digest not in self._seen:
                return candidate
        return None
