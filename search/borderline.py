"""Candidates so near a limit that one more measurement may change on which side they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.confirm.joint import ONE_SIDED, against, error_of
from paretune.search.constraints import Limit
from paretune.search.summary import StudySummary
from paretune.stats.by_example import scores
from paretune.stats.intervals import wilson
from paretune.stats.paired import (
    in_rounds,
    limit_alpha,
    pair_sequence,
    rounds_of,
    shared_rounds,
)
from paretune.stats.sequential import MedianSequence

Measured = Mapping[str, Measurement]
_NORMAL = NormalDist().inv_cdf(ONE_SIDED)


@dataclass(frozen=True)
class Borderline:
    """A candidate whose interval or examples leave open on which side of a limit it is.

    Attributes:
        id: The candidate.
        constraint: The limit, as written.
        met: Whether the rounds of the re-measurement decide that it is met or missed, with the
            confidence of all their answers; None: undecided, the measured value decides.
    """

    id: int
    constraint: str
    met: bool | None

    def to_json(self) -> dict[str, Json]:
        """Return the three fields by name."""
        return {"id": self.id, "constraint": self.constraint, "met": self.met}


def reaches_over(outcome: TrialResult, limit: Limit, *, is_baseline: bool) -> bool:
    """Return whether a candidate's interval includes a limit.

    Only what was measured in several processes counts, as another measurement would give another
    value. The baseline is not near a limit that is relative to it.
    """
    if is_baseline and limit.relative is not None:
        return False
    m = (outcome.measurements or {}).get(limit.metric)
    if m is None or m.low is None or m.high is None:
        return False
    if m.details.processes is None and not m.protocol.startswith("fresh-process-"):
        return False
    return limit.holds(m.low) != limit.holds(m.high)


def doubtful_by_example(
    outcome: TrialResult, limit: Limit, baseline: TrialResult | None, *, is_baseline: bool
) -> bool:
    """Return whether other examples of the same kind may put a candidate on a limit's other side.

    A share of right answers (or a perplexity) is known from the measured examples only. Where the
    limit is relative to the baseline, both are compared on the same examples, so that examples
    that are hard for both cancel out. Neither is meant if 95 % of all sets of as many examples
    would leave the candidate on its side. A candidate with the baseline's artifact and values has
    its value on other examples, too.
    """
    if is_baseline and limit.relative is not None:
        return False
    mine = scores((outcome.measurements or {}).get(limit.metric))
    if mine is None:
        return False
    n = len(mine.values)
    if limit.relative is None:
        if mine.binary:
            right = int(mine.values.sum())
            return _both_sides(limit, wilson(right, n, 2 * ONE_SIDED - 1))
        middle, spread = float(mine.values.mean()), error_of(mine)
        reach = _NORMAL * spread
        return _both_sides(limit, (middle - reach, middle + reach))
    base = scores((baseline.measurements or {}).get(limit.metric)) if baseline is not None else None
    if base is None or baseline is None:
        return False
    same = outcome.artifact is not None and outcome.artifact == baseline.artifact
    if same and mine.rows == base.rows and bool((mine.values == base.values).all()):
        return False
    difference, spread = against(mine, base, limit.relative)
    zero = replace(limit, value=0.0)
    return _both_sides(zero, (difference - _NORMAL * spread, difference + _NORMAL * spread))


def _both_sides(limit: Limit, ends: tuple[float, float]) -> bool:
    return limit.holds(ends[0]) != limit.holds(ends[1])


def side_of(limit: Limit, mine: Measured, baseline: Measured, alpha: float) -> bool | None:
    """Return whether a limit holds for the median of all rounds there could be; None: not known.

    The bounds are valid after every round, for rounds that are alike. A limit relative to the
    baseline is compared with the baseline's value of the same round. For a limit in a number the
    speed itself counts: rounds disturbed by other processes are left out, as in the value, and
    none counts that is known to be of an hour unlike the search's (`TopK`). The answer never
    contradicts the value: then it is not known.

    Args:
        limit: The limit.
        mine: A candidate's measurements, by metric.
        baseline: The baseline's.
        alpha: Probability that the bounds ever miss.
    """
    sequence, bound = MedianSequence(alpha), limit.value
    if limit.relative is None:
        rounds = rounds_of(mine, limit.metric).values()
        if any(process.level is not None for process in rounds):
            return None
        for process in rounds:
            if not process.disturbed:
                sequence.add(process.value)
    elif limit.relative[0] == "*":
        if limit.relative[1] <= 0:
            return None
        sequence = pair_sequence(mine, baseline, limit.metric, alpha)
        bound = math.log(limit.relative[1])
    else:
        sign, amount = limit.relative
        bound = amount if sign == "+" else -amount
        for own, other in shared_rounds(mine, baseline, limit.metric):
            sequence.add(own.value - other.value)
    beside = replace(limit, value=bound)
    low, high = beside.holds(sequence.low), beside.holds(sequence.high)
    # What is feasible goes by the value: while the rounds say otherwise, it is not known.
    agrees = limit.metric in mine and limit.holds(mine[limit.metric].value) == low
    return None if sequence.broken or low != high or not agrees else low


def _near(outcome: TrialResult, limit: Limit, baseline: TrialResult | None) -> bool:
    own = outcome is baseline
    return reaches_over(outcome, limit, is_baseline=own) or doubtful_by_example(
        outcome, limit, baseline, is_baseline=own
    )


def borderline(
    outcomes: Sequence[TrialResult], summary: StudySummary, baseline: TrialResult | None
) -> tuple[Borderline, ...]:
    """Return who on the front may miss a limit after all, and who beside it may meet all of them.

    Args:
        outcomes: All of a study's.
        summary: Derived from them.
        baseline: The one that limits are relative to; it is near none of those.
    """
    found: list[tuple[TrialResult, Limit]] = []
    for outcome in outcomes:
        if outcome.kind is not OutcomeKind.OK:
            continue
        if outcome.id in summary.front:
            found += [(outcome, x) for x in summary.limits if _near(outcome, x, baseline)]
            continue
        broken = [x for x in summary.limits if not x.holds(outcome.value(x.metric))]
        if broken and all(_near(outcome, limit, baseline) for limit in broken):
            found += [(outcome, x) for x in summary.limits if _near(outcome, x, baseline)]
    finalists = [o.measurements or {} for o in in_rounds(outcomes)]
    limits = {
        x.text for x in summary.limits for measured in finalists if rounds_of(measured, x.metric)
    }
    alpha = limit_alpha(len(finalists), len(limits))
    reference = {} if baseline is None else baseline.measurements or {}
    return tuple(
        Borderline(o.id, x.text, side_of(x, o.measurements or {}, reference, alpha))
        for o, x in found
    )
