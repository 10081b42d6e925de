"""The summary of a growing study, at the cost of what is new.

The summary is read at every measurement of a candidate, and changes with an outcome. One that is
added can change the front by itself only: the front of all is the front of the one before and what
came since. So the same derivation (`search/summary.py`) is made of those alone.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace

from paretune.core.result import TrialResult
from paretune.search.constraints import Constraint, Objective
from paretune.search.outcomes import version, with_id
from paretune.search.summary import StudySummary, summarize


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
        known, count = self._summary, len(self._seen)
        grown = (
            known is not None
            and baseline is self._baseline
            and len(outcomes) >= count
            and (version(outcomes) == self._mark or all(map(operator.is_, self._seen, outcomes)))
        )
        if grown and len(outcomes) == count:
            assert known is not None
            return known
        some, before = list(outcomes), None
        if grown and known is not None:
            miss = None if known.nearest_miss is None else known.nearest_miss["id"]
            kept = {*known.front, *known.unsettled, *(() if miss is None else (miss,))}
            some = [o for id in sorted(kept) if (o := with_id(outcomes, id)) is not None]
            some += outcomes[count:]
            before = known
        summary = summarize(some, objectives, constraints, baseline, prefer)
        if before is not None:
            summary = replace(summary, feasible=before.feasible | summary.feasible)
        self._seen, self._baseline, self._summary = list(outcomes), baseline, summary
        self._mark = version(outcomes)
        return summary
