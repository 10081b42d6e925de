"""What stops a candidate early: bounds that are surely broken, and who is surely better.

"Surely" is a statement about what the last rung will give (`search/evidence.py`), never a
comparison of two points.
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
        reason: In words, with both numbers.
        constraint: Text of the constraint that is broken, if one is.
        metrics: What it rests on.
    """

    kind: OutcomeKind
    reason: str
    constraint: str | None = None
    metrics: tuple[str, ...] = ()


def broken_limit(measured: Mapping[str, Measurement], limits: Sequence[Limit]) -> Stop | None:
    """Return a stop if a constraint is surely broken."""
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
    """Return a stop if a feasible candidate surely beats this one in every objective."""
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
        f"surely beaten by candidate {winner}: {shown}",
        metrics=tuple(o.metric for o in objectives),
    )


def _surely(m: Measurement) -> str:
    if m.low is None or m.low == m.high:
        return ""
    if m.high == math.inf:
        return f", surely at least {_num(m.low)}"
    return f", surely between {_num(m.low)} and {_num(m.high)}"


def _num(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4g}"
