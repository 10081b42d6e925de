"""What a sampler learns from an outcome of any kind, and which results are the fittest.

A result is ordered first by how much it breaks the limits and then by its objectives, as in the
constrained domination of NSGA-II (Deb et al., 2002). What never came to its end (it failed, ran
out of memory or time, was ruled out before any job) breaks one limit more: to work at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from paretune.core.candidate import Candidate
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.constraints import Objective
from paretune.search.space import Space
from paretune.search.strategies.proposing import choices_of

MAX_VIOLATION = 1e9
"""Value of an infinite violation: violations are added up."""

_STOPPED = (OutcomeKind.INFEASIBLE, OutcomeKind.PRUNED)
_WORKED = (OutcomeKind.OK, OutcomeKind.DUPLICATE, *_STOPPED)


@dataclass(frozen=True)
class Told:
    """A result, as a sampler sees it.

    Attributes:
        positions: What the candidate took at each choice.
        losses: Of each objective; less is better.
        broken: By how much each constraint is broken; the last one is 1 where it did not work.
    """

    positions: Mapping[str, int]
    losses: tuple[float, ...]
    broken: tuple[float, ...]

    @cached_property
    def excess(self) -> float:
        """Sum of what is broken; 0: feasible."""
        return sum(self.broken)

    def beats(self, other: Told) -> bool:
        """Return whether this one dominates another, limits first."""
        if self.excess or other.excess:
            return self.excess < other.excess
        return self.losses != other.losses and all(
            a <= b for a, b in zip(self.losses, other.losses, strict=True)
        )


class Learner:
    """Makes of outcomes what a sampler can learn from.

    Args:
        space: What was searched.
        objectives: What is better.
    """

    def __init__(self, space: Space, objectives: Sequence[Objective]) -> None:
        self._space = space
        self._objectives = tuple(objectives)
        self._worst: list[float | None] = [None] * len(self._objectives)

    def told(
        self, candidate: Candidate, outcome: TrialResult, violations: Sequence[float]
    ) -> Told | None:
        """Return what an outcome teaches; None: nothing.

        Nothing is learned from a candidate outside of the space, a failure for a cause outside of
        it, or a result that has neither its values nor a broken limit. An objective that was not
        measured counts as the worst so far.

        Args:
            candidate: What was tried.
            outcome: How it ended.
            violations: By how much each constraint is broken; infinite where it was not measured.
        """
        found = choices_of(self._space, candidate)
        if found is None or outcome.transient:
            return None
        if outcome.kind in _STOPPED:  # what was not looked at is not known to be broken
            violations = [0.0 if math.isinf(v) else v for v in violations]
        losses = [_loss(outcome, objective) for objective in self._objectives]
        if None not in losses:
            self._worst = [_worse(w, loss) for w, loss in zip(self._worst, losses, strict=True)]
        failed = float(outcome.kind not in _WORKED)
        broken = (*(min(v, MAX_VIOLATION) for v in violations), failed)
        if None in losses and not any(broken) and None in self._worst:
            return None
        if None in losses and outcome.kind in (OutcomeKind.OK, OutcomeKind.DUPLICATE):
            return None
        filled = (
            worst if loss is None else loss for loss, worst in zip(losses, self._worst, strict=True)
        )
        return Told(found.positions, tuple(0.0 if v is None else v for v in filled), broken)


def _loss(outcome: TrialResult, objective: Objective) -> float | None:
    value = outcome.value(objective.metric)
    if value is None or not math.isfinite(value):
        return None
    return value if objective.direction == "minimize" else -value


def _worse(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else max(a, b)


def fittest(results: Sequence[Told], count: int) -> list[Told]:
    """Return the best ones, as NSGA-II lets a generation survive, in the order given.

    Whole ranks of non-dominated ones as far as they fit, and of the next rank those with the
    most distance to their neighbours.

    Args:
        results: In the order in which they came.
        count: How many.
    """
    kept: list[int] = []
    for rank in _ranks(results):
        if len(kept) + len(rank) > count:
            distance = _crowding([results[i] for i in rank])
            order = sorted(range(len(rank)), key=lambda place: -distance[place])
            rank = [rank[place] for place in order[: count - len(kept)]]
        kept += rank
        if len(kept) == count:
            break
    return [results[i] for i in sorted(kept)]


def _ranks(results: Sequence[Told]) -> Iterator[list[int]]:
    """Yield the places of what only better ranks dominate, rank by rank."""
    excess = [told.excess for told in results]
    left = sorted(
        (i for i in range(len(results)) if not excess[i]), key=lambda i: results[i].losses
    )
    while left:
        # In lexicographic order nothing later beats what came before.
        front, rank, rest = list[Told](), list[int](), list[int]()
        for i in left:
            if any(other.beats(results[i]) for other in front):
                rest.append(i)
            else:
                rank.append(i)
                front.append(results[i])
        yield rank
        left = rest
    for _, group in groupby(
        sorted((i for i in range(len(results)) if excess[i]), key=excess.__getitem__),
        key=excess.__getitem__,
    ):
        yield list(group)


def _crowding(rank: Sequence[Told]) -> list[float]:
    """Return each one's distance to its neighbours, summed over the objectives."""
    found = [0.0] * len(rank)
    for objective in range(len(rank[0].losses)):
        order = sorted(range(len(rank)), key=lambda i: rank[i].losses[objective])
        ends = [rank[i].losses[objective] for i in order]
        if ends[0] == ends[-1]:
            continue
        for place, i in enumerate(order):
            if place in (0, len(order) - 1):
                found[i] = math.inf
            else:
                found[i] += (ends[place + 1] - ends[place - 1]) / (ends[-1] - ends[0])
    return found
