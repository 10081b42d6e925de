"""Who is so near to a limit that one more look may change on which side it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paretune.evaluators.pooling import log_ratio, processes_of
from paretune.evaluators.sequential import MedianSequence
from paretune.jsontools import Json
from paretune.measurement import Measurement
from paretune.search.constraints import Limit
from paretune.search.outcome import Outcome, OutcomeKind
from paretune.search.paired import in_rounds, limit_alpha, turns_of
from paretune.search.standing import Standing

Measured = Mapping[str, Measurement]


@dataclass(frozen=True)
class NearLimit:
    """A candidate whose interval reaches over a limit.

    Attributes:
        id: The candidate.
        constraint: The limit, as written.
        met: Whether it is surely met, or surely missed, by the rounds of the finals; None: not
            known, and the measured value alone decides.
    """

    id: int
    constraint: str
    met: bool | None

    def to_json(self) -> dict[str, Json]:
        """Return the three fields by name."""
        return {"id": self.id, "constraint": self.constraint, "met": self.met}


def reaches_over(outcome: Outcome, limit: Limit) -> bool:
    """Return whether a candidate is on both sides of a limit for all its interval says.

    Only what was measured in several processes counts: measured again, it comes out otherwise. An
    accuracy on the same examples does not.
    """
    m = (outcome.measurements or {}).get(limit.metric)
    if m is None or m.low is None or m.high is None:
        return False
    if "processes" not in m.details and not m.protocol.startswith("fresh-process-"):
        return False
    return limit.holds(m.low) != limit.holds(m.high)


def side_of(limit: Limit, mine: Measured, baseline: Measured, alpha: float) -> bool | None:
    """Return whether a limit holds for the median of all rounds there could be; None: not known.

    The bounds hold at every look, for rounds that are alike. A limit relative to the baseline is
    looked at round by round, beside the baseline's own of the same round. For one in a number the
    speed itself counts: rounds that others disturbed are left out, and none counts that is known to
    be of an hour unlike the search's (`Finals`).

    Args:
        limit: The limit.
        mine: A candidate's measurements, by metric.
        baseline: The baseline's.
        alpha: Probability that the bounds ever miss.
    """
    sequence, bound = MedianSequence(alpha), limit
    rounds = _rounds(mine, limit.metric)
    if limit.relative is None:
        if any("level" in process for process in rounds.values()):
            return None
        for process in rounds.values():
            if "interference" not in process:
                sequence.add(process["value"])
    else:
        sign, amount = limit.relative
        scaled = sign == "*"
        if scaled and amount <= 0:
            return None
        bound = Limit(limit.metric, limit.op, {
            "*": math.log(amount) if scaled else 0.0, "+": amount, "-": -amount
        }[sign], limit.text)  # fmt: skip
        for number, other in _rounds(baseline, limit.metric).items():
            own = rounds.get(number)
            if own is not None and min(own["value"], other["value"]) > 0:
                sequence.add(log_ratio(turns_of(own), turns_of(other)) if scaled
                             else own["value"] - other["value"])  # fmt: skip
    low, high = bound.holds(sequence.low), bound.holds(sequence.high)
    return None if sequence.broken or low != high else low


def _rounds(measured: Measured, metric: str) -> dict[int, dict[str, Json]]:
    """Return the processes of a metric that were measured in rounds, by round."""
    processes = processes_of(measured[metric]) if metric in measured else []
    return {process["round"]: process for process in processes if process["round"] is not None}


def near_limits(
    outcomes: Sequence[Outcome], standing: Standing, baseline: Outcome | None
) -> tuple[NearLimit, ...]:
    """Return who on the front may miss a limit after all, and who beside it may meet all of them.

    Args:
        outcomes: All of a study's.
        standing: Derived from them.
        baseline: The one that limits are relative to; it is near none of those.
    """
    found = []
    for outcome in outcomes:
        if outcome.kind is not OutcomeKind.OK:
            continue
        near = [x for x in standing.limits if reaches_over(outcome, x)
                and (x.relative is None or outcome is not baseline)]  # fmt: skip
        broken = [x for x in standing.limits if not x.holds(outcome.value(x.metric))]
        if outcome.id in standing.front or (broken and all(limit in near for limit in broken)):
            found += [(outcome, limit) for limit in near]
    finalists = [o.measurements or {} for o in in_rounds(outcomes)]
    limits = {x.text for x in standing.limits for measured in finalists
              if _rounds(measured, x.metric)}  # fmt: skip
    alpha = limit_alpha(len(finalists), len(limits))
    reference = {} if baseline is None else baseline.measurements or {}
    return tuple(
        NearLimit(o.id, x.text, side_of(x, o.measurements or {}, reference, alpha))
        for o, x in found
    )
