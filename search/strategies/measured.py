"""What a search has measured so far, kept as it comes, so that an ask need not go through it."""

from __future__ import annotations

from collections.abc import Sequence

from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.constraints import Limit, Objective
from paretune.search.pareto import pareto_front
from paretune.search.summary import values
from paretune.search.surrogate.encoding import Encoding
from paretune.search.surrogate.learner import WORKED


class Measured:
    """The results of a search, in the order in which they came.

    Attributes:
        all: Every result.
        ran: How many ran a job.
        tried: Those in the space that did not fail, early stops included.
        whole: Those in the space that have every objective.

    Args:
        encoding: Of the space.
        objectives: What is better.
    """

    def __init__(self, encoding: Encoding, objectives: Sequence[Objective]) -> None:
        self._encoding, self._objectives = encoding, objectives
        self.all: list[TrialResult] = []
        self.ran = 0
        self.tried: list[TrialResult] = []
        self.whole: list[TrialResult] = []
        self._limits: tuple[Limit, ...] = ()
        self._compared = 0
        self._feasible: list[TrialResult] | None = None
        self._any: list[TrialResult] = []

    def add(self, result: TrialResult) -> None:
        """Take a result that is new."""
        self.all.append(result)
        self.ran += result.kind is not OutcomeKind.SKIPPED
        if self._encoding.row(result.candidate) is None:
            return
        if result.kind in WORKED:
            self.tried.append(result)
        found = values(result)
        if result.kind is OutcomeKind.OK and all(o.metric in found for o in self._objectives):
            self.whole.append(result)

    def front(self, limits: Sequence[Limit]) -> list[TrialResult]:
        """Return the feasible front of what was measured; of all results if none is feasible.

        Args:
            limits: In force; other ones than before compare everything again.
        """
        if tuple(limits) != self._limits:
            self._limits, self._compared = tuple(limits), 0
            self._feasible, self._any = None, []
        new = self.whole[self._compared :]
        self._compared = len(self.whole)
        feasible = [r for r in new if is_feasible(r, limits)]
        if feasible:
            self._feasible = self._front_of([*(self._feasible or ()), *feasible])
        if self._feasible is None:
            self._any = self._front_of([*self._any, *new])
        return self._any if self._feasible is None else self._feasible

    def _front_of(self, results: Sequence[TrialResult]) -> list[TrialResult]:
        by_id = {r.id: r for r in results}
        found = pareto_front({id: values(r) for id, r in by_id.items()}, self._objectives)
        return [by_id[id] for id in found]


def is_feasible(result: TrialResult, limits: Sequence[Limit]) -> bool:
    """Return whether a result meets every limit."""
    return all(limit.holds(result.value(limit.metric)) for limit in limits)
