"""The fourth kind of evidence for an early stop: what the parent of a build shows before the build.

The parent is the trained model in full precision that a candidate's last passes round or convert.
With ``P`` the parent's metric on all examples, two statements together bound the build's last
value (`paretune/stats/parent_gain.py` says on which assumptions):

- a bound of ``P`` that is valid at every step of its measurement (99.5 %);
- the largest gain of a build over its parent, from the differences that this study has seen: of
  the same build of other parents where there are three, else of all builds; before any, ten
  percentage points of a share, a tenth of a perplexity (99.5 %).

A candidate is stopped before its build if that value breaks a limit, or if every objective is such
a metric and another candidate's bounds are better in all of them. A wrong stop therefore has a
probability of at most 1 %, as with the other kinds of evidence. `search/reconsider.py` makes the
same test again under later limits, and with the gains that were seen since.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from paretune.core.candidate import Candidate, Step
from paretune.core.measurement import Measurement, MetricSpec
from paretune.core.parent import Parent
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.constraints import Constraint, Limit, Objective
from paretune.search.pareto import surely_dominated
from paretune.search.pruning import Stop
from paretune.stats.parent_gain import is_ratio, largest_gain, with_gain

_ENOUGH_ALIKE = 3
"""Pairs of the same build from which those of other builds are left out."""
BuildKey = tuple[tuple[Step, ...], str]


def build_of(candidate: Candidate, steps: int) -> BuildKey:
    """Return what builds of different parents have in common: the passes after, and for whom."""
    return candidate.recipe[steps:], candidate.runtime.provider


def asks_for_better(limit: Limit | Constraint, specs: Mapping[str, MetricSpec]) -> bool:
    """Return whether a limit is one that a better value of its metric meets."""
    spec = specs.get(limit.metric)
    return spec is not None and (limit.op[0] == ">") == (spec.direction == "maximize")


class Gains:
    """By how much the builds of a study were better than their parents.

    Args:
        outcomes: Of the study.
    """

    def __init__(self, outcomes: Iterable[TrialResult]) -> None:
        self._seen: defaultdict[str, list[tuple[BuildKey, float]]] = defaultdict(list)
        for outcome in outcomes:
            parent = outcome.parent
            if parent is None or outcome.kind is not OutcomeKind.OK:
                continue
            for name, cost in parent.costs.items():
                if cost.change is not None:
                    self._seen[name].append(
                        (build_of(outcome.candidate, parent.steps), cost.change)
                    )

    def largest(self, metric: str, build: BuildKey, *, maximize: bool) -> float:
        """Return what the next build gains at most, with the required confidence."""
        seen = self._seen.get(metric, [])
        alike = [change for other, change in seen if other == build]
        changes = alike if len(alike) >= _ENOUGH_ALIKE else [change for _, change in seen]
        return largest_gain([change if maximize else -change for change in changes])


@dataclass(frozen=True)
class ParentTest:
    """What a parent is tested against at one moment.

    Attributes:
        limits: The constraints in force.
        objectives: What is better.
        specs: Of every metric.
        others: The feasible candidates that may dominate another, with their bounds.
        gains: What the builds of the study have gained.
    """

    limits: Sequence[Limit]
    objectives: Sequence[Objective]
    specs: Mapping[str, MetricSpec]
    others: Mapping[int, Mapping[str, Measurement]]
    gains: Gains

    def decided_by(self, measurable: Set[str]) -> set[str]:
        """Return which of a parent's metrics may rule it out: limited ones, and objectives.

        Args:
            measurable: What can be measured of it. Objectives count if all of them are among it and
                there is a candidate that may dominate.
        """
        wanted = {limit.metric for limit in self.limits if self._asks_for_better(limit)}
        objectives = {objective.metric for objective in self.objectives}
        if self.others and objectives <= measurable:
            wanted |= objectives
        return wanted & measurable

    def stop(self, parent: Parent, candidate: Candidate) -> Stop | None:
        """Return why no build as this candidate's can be of use; None if one may be."""
        build = build_of(candidate, parent.steps)
        for limit in self.limits:
            best = self._best(parent, limit.metric, build) if self._asks_for_better(limit) else None
            if best is not None and not limit.holds(best):
                told = f"{self._told(parent, limit.metric, build)}; needs {limit.text}"
                return Stop(OutcomeKind.INFEASIBLE, told, limit.text, (limit.metric,))
        return self._dominated(parent, build)

    def may_stop(self, parent: Parent, candidate: Candidate) -> bool:
        """Return whether more examples may rule a build out: if the parent is at its worst."""
        worst = {
            name: (ends[0], ends[0]) if self._maximizes(name) else (ends[1], ends[1])
            for name, ends in parent.bounds.items()
        }
        return self.stop(replace(parent, bounds=worst), candidate) is not None

    def _maximizes(self, metric: str) -> bool:
        return self.specs[metric].direction == "maximize"

    def _asks_for_better(self, limit: Limit) -> bool:
        return asks_for_better(limit, self.specs)

    def _gain(self, metric: str, build: BuildKey) -> float:
        return self.gains.largest(metric, build, maximize=self._maximizes(metric))

    def _best(self, parent: Parent, metric: str, build: BuildKey) -> float | None:
        """Return the best that a build's metric may be at its end; None if nothing bounds it."""
        bounds, measured = parent.bounds.get(metric), parent.metrics.get(metric)
        ratio = None if measured is None else is_ratio(measured)
        if bounds is None or ratio is None:
            return None
        maximize = self._maximizes(metric)
        end = bounds[1] if maximize else bounds[0]
        best = with_gain(end, self._gain(metric, build), ratio=ratio, maximize=maximize)
        return best if ratio else min(1.0, max(0.0, best))

    def _dominated(self, parent: Parent, build: BuildKey) -> Stop | None:
        found: dict[str, Measurement] = {}
        for objective in self.objectives:
            best = self._best(parent, objective.metric, build)
            if best is None or objective.direction != self.specs[objective.metric].direction:
                return None
            m = parent.metrics[objective.metric]
            found[objective.metric] = replace(m, value=best, low=best, high=best)
        winner = surely_dominated(found, self.others, self.objectives)
        if winner is None:
            return None
        told = "; ".join(self._told(parent, o.metric, build) for o in self.objectives)
        theirs = ", ".join(
            f"{o.metric} {_num(self.others[winner][o.metric].value)}" for o in self.objectives
        )
        reason = f"{told}; dominated by candidate {winner}: {theirs}"
        return Stop(OutcomeKind.PRUNED, reason, metrics=tuple(found))

    def _told(self, parent: Parent, metric: str, build: BuildKey) -> str:
        """Return the parent's value, its interval and the bound of its builds, as text."""
        m, (low, high) = parent.metrics[metric], parent.bounds[metric]
        gain, best = self._gain(metric, build), self._best(parent, metric, build)
        if low == high:
            interval = "on all examples"
        elif high == math.inf:
            interval = f"{m.n} scored; at least {_num(low)} on all examples"
        else:
            interval = f"{m.n} examples; {_num(low)} to {_num(high)} on all examples"
        most = "at most" if self._maximizes(metric) else "at least"
        by = f"{100 * math.expm1(gain):.2g} %" if is_ratio(m) else _num(gain)
        return (
            f"{metric} of the trained model, before any build, is {_num(m.value)} ({interval}); a "
            f"build is better by at most {by}, which gives {most} {_num(best)}"
        )


def _num(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4g}"
