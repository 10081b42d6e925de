"""Which finalists run in the next round: the pick, and the challengers that are nearest to it.

A challenger is a finalist that the rounds have not yet distinguished from the pick, or found the
same, in every speed that counts. Who is decided gets no more rounds. Of the others, not all need as
many: optimal computing budget allocation (Chen, Lin, Yucesan and Chick 2000) gives each as many as
make it equally improbable for all of them that they are better than the pick. So a round has the
challenger that is the fewest standard errors away from being better, and those that are not many
more away.

The bounds stay valid at every round. A pair's rounds are those that both ran, and who runs is
chosen from earlier rounds only. Given the past, the next ratio of a pair is therefore above its
true median with probability one half, whether or not the pair runs: a bet that is not made does
not change the fortune, which stays a martingale (`paretune/stats/sequential.py`). Which pairs are
asked about depends on who is the pick; the error is divided among all pairs of finalists.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from paretune.core.measurement import Measurement
from paretune.search.constraints import Objective
from paretune.stats.paired import log_ratios, pair_sequence
from paretune.stats.sequential import MARGIN, Verdict, speed_verdict

Measured = Mapping[str, Measurement]
_FEWEST = 3
"""Rounds below which a challenger's distance is not known."""
_FARTHER = 2.0
"""A challenger is left out of a round if it is farther away than the nearest by this factor."""


@dataclass(frozen=True)
class Challenger:
    """A finalist that may be better than the pick, by its rounds.

    Attributes:
        id: The candidate.
        errors_apart: How many standard errors its ratio to the pick is away from the ratio at which
            it would be better by more than the margin.
    """

    id: int
    errors_apart: float


def open_challengers(
    pick: int,
    others: Iterable[int],
    measured: Mapping[int, Measured],
    objectives: Sequence[Objective],
    alpha: float,
) -> list[Challenger]:
    """Return who is not yet distinguished from the pick.

    Args:
        pick: Who is chosen as things stand.
        others: The other finalists.
        measured: Of all of them, by id.
        objectives: Those that the rounds measure.
        alpha: Error of each pair's verdict on each metric.
    """
    found = []
    for id in others:
        pairs = [(o, measured[pick], measured[id]) for o in objectives]
        undecided = [
            _errors_apart([*log_ratios(a, b, o.metric).values()], o)
            for o, a, b in pairs
            if speed_verdict(pair_sequence(a, b, o.metric, alpha)) is Verdict.UNDECIDED
        ]
        if undecided:
            found.append(Challenger(id, min(undecided)))
    return found


def chosen(challengers: Sequence[Challenger]) -> list[int]:
    """Return which challengers run in the next round: the nearest, and those not much farther.

    Args:
        challengers: Those that are open.
    """
    least = min((each.errors_apart for each in challengers), default=0.0)
    return [each.id for each in challengers if each.errors_apart <= _FARTHER * least]


def _errors_apart(logs: Sequence[float], objective: Objective) -> float:
    if len(logs) < _FEWEST:
        return 0.0
    better = statistics.fmean(logs) * (-1 if objective.direction == "minimize" else 1)
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    return max(0.0, better + math.log1p(MARGIN)) / error if error > 0 else math.inf
