"""How certain the Pareto front is: which members may be dominated, and which ones are tied."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement
from paretune.core.result import TrialResult
from paretune.search.constraints import Objective
from paretune.search.pareto import surely_dominated
from paretune.search.summary import StudySummary
from paretune.stats.by_example import Scores, scores
from paretune.stats.intervals import CONFIDENCE, mcnemar, student_t
from paretune.stats.paired import in_rounds, pair_alpha, pair_sequence, rounds_of
from paretune.stats.sequential import Verdict, least_rounds, speed_verdict

_MIN_COUNT = 20
"""Examples that a paired comparison of right and wrong answers needs."""
_MIN_SIZES = 8
"""Examples that a paired comparison of scores with sizes needs."""
Measured = Mapping[str, Measurement]


@dataclass(frozen=True)
class Group:
    """Members of the front that no objective tells apart.

    Attributes:
        members: Ids, ascending; at least two.
        pick: The one to take.
        reason: Why that one.
    """

    members: tuple[int, ...]
    pick: int
    reason: str

    def to_json(self) -> dict[str, Json]:
        """Return the three fields by name."""
        return {"members": list(self.members), "pick": self.pick, "reason": self.reason}


def surely_better(a: Measured, b: Measured, objective: Objective, alpha: float) -> bool:
    """Return whether the first is better on an objective beyond doubt.

    Metrics with enough interleaved rounds are compared round by round; accuracies on the same
    examples, by example; all others by intervals.

    Args:
        a: The first's measurements.
        b: The second's.
        objective: What is better.
        alpha: Error of an interleaved comparison.
    """
    mine, other = a.get(objective.metric), b.get(objective.metric)
    if mine is None or other is None:
        return False
    sequence = pair_sequence(a, b, objective.metric, alpha)
    if sequence.n >= least_rounds(alpha):  # fewer rounds say nothing
        verdict = speed_verdict(sequence)
        wanted = Verdict.FASTER if objective.direction == "minimize" else Verdict.SLOWER
        return verdict is wanted
    here, there = scores(mine), scores(other)
    if here is not None and there is not None and here.rows == there.rows:
        higher = (mine.value or 0.0) > (other.value or 0.0)
        told = _told_apart(here, there)
        if told is not None:
            return told and higher == (objective.direction == "maximize")
    return surely_dominated(b, {0: a}, (objective,)) is not None


def _told_apart(a: Scores, b: Scores) -> bool | None:
    """Return whether two differ on the same examples beyond doubt; None: too few of them.

    By McNemar's exact test on right and wrong answers; scores that have sizes by Student's t on
    their differences, which is as good as a permutation test and takes no time.
    """
    n = len(a.rows)
    if a.binary and b.binary:
        if n < _MIN_COUNT:
            return None
        return mcnemar(a.values.tolist(), b.values.tolist()) <= 1 - CONFIDENCE
    if n < _MIN_SIZES:
        return None
    apart = a.values - b.values
    error = float(apart.std(ddof=1)) / math.sqrt(n)
    return abs(float(apart.mean())) > student_t(n - 1) * error


def possible_dominators(
    outcomes: Sequence[TrialResult], summary: StudySummary, objectives: Sequence[Objective]
) -> dict[int, list[int]]:
    """Return, for each member of the front, the feasible candidates that may dominate it.

    A member's place is certain if it is better than each other candidate in some objective, with
    the confidence of the intervals.
    """
    measured = {o.id: o.measurements or {} for o in outcomes if o.id in summary.feasible}
    alpha = _alpha(outcomes, objectives)
    return {
        id: [
            other
            for other in sorted(measured.keys() - {id})
            if not any(surely_better(measured[id], measured[other], o, alpha) for o in objectives)
        ]
        for id in summary.front
    }


def front_uncertainty(
    outcomes: Sequence[TrialResult], summary: StudySummary, objectives: Sequence[Objective]
) -> dict[str, Json]:
    """Return ``groups`` and ``membership`` as ``results.json`` has them."""
    return {
        "groups": [group.to_json() for group in ties(outcomes, summary, objectives)],
        "membership": [
            {"id": id, "sure": not others, "rivals": others}
            for id, others in possible_dominators(outcomes, summary, objectives).items()
        ],
    }


def _alpha(outcomes: Sequence[TrialResult], objectives: Sequence[Objective]) -> float:
    """Return the error of each interleaved comparison: as the re-measurement shares it out."""
    interleave = [o.measurements or {} for o in in_rounds(outcomes)]
    metrics = [o.metric for o in objectives if any(rounds_of(m, o.metric) for m in interleave)]
    return pair_alpha(max(2, len(interleave)), max(1, len(metrics)))


def ties(
    outcomes: Sequence[TrialResult], summary: StudySummary, objectives: Sequence[Objective]
) -> tuple[Group, ...]:
    """Return the members of the front that are tied, each group with the one to take.

    The pick's group comes first. Being tied is not transitive; a group has the members that are
    tied with its own pick.
    """
    measured = {o.id: o.measurements or {} for o in outcomes if o.id in summary.front}
    if summary.best is None:
        return ()
    alpha = _alpha(outcomes, objectives)
    apart = {
        frozenset((a, b))
        for a, b in combinations(measured, 2)
        if any(
            surely_better(measured[a], measured[b], o, alpha)
            or surely_better(measured[b], measured[a], o, alpha)
            for o in objectives
        )
    }
    found, left = [], [summary.best, *(id for id in summary.front if id != summary.best)]
    while left:
        pick = left[0]
        members = [id for id in left if id == pick or frozenset((id, pick)) not in apart]
        left = [id for id in left if id not in members]
        if len(members) > 1:
            found.append(
                Group(tuple(sorted(members)), pick, _why(pick, members, measured, objectives))
            )
    return tuple(found)


def _why(
    pick: int,
    members: Sequence[int],
    measured: Mapping[int, Measured],
    objectives: Sequence[Objective],
) -> str:
    """Return why one of a group is taken: what it leads in, if only by a point."""
    for objective in objectives:
        values = {id: measured[id][objective.metric].value for id in members}
        known = [value for value in values.values() if value is not None]
        best = max(known) if objective.direction == "maximize" else min(known)
        if values[pick] == best and len(set(known)) > 1:
            return (
                f"has the best measured {objective.metric}; the difference is too small to be "
                "distinguished from noise on this device"
            )
    return "came first, and none of the others is distinguishably better in anything"
