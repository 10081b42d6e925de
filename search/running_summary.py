"""The summary of a growing study, at the cost of what is new.

The summary is read at every measurement of a candidate, and changes with an outcome. One that is
added can change the front by itself only: the front of all is the front of the one before and what
came since. So the same derivation (`search/summary.py`) is made of those alone.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import replace
from itertools import islice

from paretune.core.result import TrialResult
from paretune.search.constraints import Constraint, Objective
from paretune.search.outcomes import Outcomes, arrived, era, with_id
from paretune.search.summary import StudySummary, summarize


class IdsUntil(Set[int]):
    """The numbers that a growing collection had at one moment; the collection is shared.

    Args:
        places: Each number's place, in the order in which they were added.
        count: How many there were.
    """

    def __init__(self, places: dict[int, int], count: int) -> None:
        self._places, self._count = places, count

    def __contains__(self, id: object) -> bool:
        return self._places.get(id, self._count) < self._count  # type: ignore[call-overload, no-any-return]

    def __iter__(self) -> Iterator[int]:
        return islice(self._places, self._count)

    def __len__(self) -> int:
        return self._count

    def __hash__(self) -> int:
        return hash(frozenset(self))

    def __repr__(self) -> str:
        return repr(set(self))

    @classmethod
    def _from_iterable(cls, it: Iterable[int]) -> Set[int]:  # type: ignore[override]
        return frozenset(it)


class RunningSummary:
    """Derives the summaries of one study, one after another.

    Args:
        objectives: In order of importance.
        constraints: As configured.
        prefer: Metric to choose the best by first, instead of the first objective.
    """

    def __init__(
        self,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        prefer: str | None = None,
    ) -> None:
        self._asked = (tuple(objectives), tuple(constraints), prefer)
        self._seen: list[TrialResult] = []
        self._count = 0
        self._feasible: dict[int, int] = {}
        self._baseline: TrialResult | None = None
        self._summary: StudySummary | None = None
        self._mark: object = None

    def of(self, outcomes: Sequence[TrialResult], baseline: TrialResult | None) -> StudySummary:
        """Return the summary that `summarize` derives from the same.

        Args:
            outcomes: All of them; what was there before stands in its place, if nothing changed.
            baseline: Outcome of the baseline.
        """
        objectives, constraints, prefer = self._asked
        known, count, came = self._summary, self._count, arrived(outcomes)
        grown = (
            known is not None
            and baseline is self._baseline
            and len(came) >= count
            and (era(outcomes) == self._mark or self._begins(came))
        )
        if grown and len(came) == count:
            assert known is not None
            return known
        some = list(outcomes)
        if grown and known is not None:
            miss = None if known.nearest_miss is None else known.nearest_miss["id"]
            kept = {*known.front, *known.unsettled, *(() if miss is None else (miss,))}
            some = [o for id in kept if (o := with_id(outcomes, id)) is not None]
            some = sorted([*some, *came[count:]], key=lambda outcome: outcome.id)
        else:
            self._feasible = {}
        summary = summarize(some, objectives, constraints, baseline, prefer)
        for id in sorted(summary.feasible):
            self._feasible.setdefault(id, len(self._feasible))
        feasible = IdsUntil(self._feasible, len(self._feasible))
        summary = replace(summary, feasible=feasible)
        self._seen = [] if isinstance(outcomes, Outcomes) else list(outcomes)
        self._count, self._baseline, self._summary = len(came), baseline, summary
        self._mark = era(outcomes)
        return summary

    def _begins(self, outcomes: Sequence[TrialResult]) -> bool:
        """Return whether a plain list begins with what was seen."""
        return len(self._seen) == self._count and all(map(operator.is_, self._seen, outcomes))
