"""Which feasible candidates may dominate another: the Pareto front of their pessimistic values.

After every measurement of a candidate, it is asked whether another one dominates it. Of a thousand
feasible candidates only a few need be compared: if one's pessimistic values are nowhere better than
another's, the other dominates every candidate that the first one dominates. So only this front is
stored, and it grows by one outcome at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from paretune.core.measurement import Measurement, MetricSpec
from paretune.core.result import TrialResult
from paretune.search.constraints import Objective
from paretune.search.evidence import relied_on
from paretune.search.outcomes import arrived, era
from paretune.search.pareto import pessimistic
from paretune.search.summary import StudySummary

Measured = Mapping[str, Measurement]


class PossibleDominators:
    """The front of the feasible candidates' worst cases.

    Args:
        objectives: What is better.
        specs: Of every metric.
    """

    def __init__(self, objectives: Sequence[Objective], specs: Iterable[MetricSpec]) -> None:
        self._objectives = tuple(objectives)
        self._specs = {spec.name: spec for spec in specs}
        self._held: dict[int, TrialResult] = {}
        self._reference: Measured | None = None
        self._front: dict[int, tuple[tuple[float, ...], Measured]] = {}
        self._mark: object = None
        self._count = 0

    def of(
        self, outcomes: Sequence[TrialResult], summary: StudySummary, reference: Measured | None
    ) -> dict[int, Measured]:
        """Return what `among` does of a growing study's feasible candidates, for what is new.

        Args:
            outcomes: Of the study.
            summary: Derived from them.
            reference: The baseline's measurements, see `among`.
        """
        mark = (era(outcomes), summary.limits, summary.unresolved)
        if mark != self._mark or reference is not self._reference:
            self._held, self._front, self._reference = {}, {}, reference
            self._mark, self._count = mark, 0
        came = arrived(outcomes)
        for place in range(self._count, len(came)):
            if came[place].id in summary.feasible:
                self._add(came[place].id, came[place])
        self._count = len(came)
        return {id: measured for id, (_, measured) in sorted(self._front.items())}

    def among(
        self, feasible: Mapping[int, TrialResult], reference: Measured | None
    ) -> dict[int, Measured]:
        """Return the candidates on that front, with their bounds in each objective.

        Args:
            feasible: By id.
            reference: The baseline's measurements, which shares are paired with; None: there are
                none on all examples.
        """
        same = reference is self._reference and all(
            feasible.get(id) is outcome for id, outcome in self._held.items()
        )
        if not same:
            self._held, self._front, self._reference = {}, {}, reference
        for id in feasible.keys() - self._held.keys():
            self._add(id, feasible[id])
        return {id: measured for id, (_, measured) in sorted(self._front.items())}

    def _add(self, id: int, outcome: TrialResult) -> None:
        self._held[id] = outcome
        measured = outcome.measurements or {}
        sure = {
            o.metric: self._surely(o.metric, measured[o.metric])
            for o in self._objectives
            if o.metric in measured
        }
        worst = pessimistic(sure, self._objectives)
        if worst is None or any(_no_worse(other, worst) for other, _ in self._front.values()):
            return
        self._front = {i: (w, m) for i, (w, m) in self._front.items() if not _no_worse(worst, w)}
        self._front[id] = (worst, sure)

    def _surely(self, metric: str, m: Measurement) -> Measurement:
        spec = self._specs.get(metric)
        if spec is not None and spec.device:
            return replace(m, low=None, high=None) if m.taken_over else m
        return relied_on(m, spec, reference=(self._reference or {}).get(metric))


def _no_worse(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True))
