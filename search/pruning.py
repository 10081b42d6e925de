"""What stops a candidate early: limits that its bounds break, and candidates that dominate it.

Both are statements about the value of the last rung (`search/evidence.py`), never comparisons of
two points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind
from paretune.search.constraints import Limit, Objective
from paretune.search.pareto import surely_dominated


@dataclass(frozen=True)
class Stop:
    """Why a candidate need not go on.

    Attributes:
        kind: ``infeasible`` or ``pruned``.
        reason: As text, with both numbers.
        constraint: Text of the constraint that is broken, if one is.
        metrics: What it rests on.
    """

    kind: OutcomeKind
    reason: str
    constraint: str | None = None
    metrics: tuple[str, ...] = ()


def broken_limit(measured: Mapping[str, Measurement], limits: Sequence[Limit]) -> Stop | None:
    """Return a stop if the bounds of a metric break a constraint."""
    for limit in limits:
        m = measured.get(limit.metric)
        if m is not None and limit.surely_broken(m):
            unit = "" if m.unit in ("", "fraction") else f" {m.unit}"
            reason = f"{limit.metric} is {_num(m.value)}{unit}{_surely(m)}; needs {limit.text}"
            return Stop(OutcomeKind.INFEASIBLE, reason, limit.text, (limit.metric,))
    return None


def dominated(
    measured: Mapping[str, Measurement],
    others: Mapping[int, Mapping[str, Measurement]],
    objectives: Sequence[Objective],
) -> Stop | None:
    """Return a stop if the bounds of a feasible candidate are better in every objective."""
    winner = surely_dominated(measured, others, objectives)
    if winner is None:
        return None
    shown = ", ".join(
        f"{o.metric} {_num(measured[o.metric].value)} against "
        f"{_num(others[winner][o.metric].value)}"
        for o in objectives
    )
    return Stop(
        OutcomeKind.PRUNED,
        f"dominated by candidate {winner}: {shown}",
        metrics=tuple(o.metric for o in objectives),
    )


def _surely(m: Measurement) -> str:
    if m.low is None or m.low == m.high:
        return ""
    if m.high == math.inf:
        return f", bounded to at least {_num(m.low)}"
    return f", bounded to between {_num(m.low)} and {_num(m.high)}"


def _num(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4g}"
