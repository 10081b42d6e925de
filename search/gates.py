"""What stops a candidate early: checks before a build, and bounds that are surely broken.

"Surely" is a statement about intervals, never a comparison of two points. A speed that was taken
in about a second, in one process, varies from process to process by more than its own samples
show; until the final rung its interval is therefore widened: by what the device's own A/A runs
showed (`paretune bench`), or by `ROUGH_SLACK` where they were not made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from paretune.evaluators.examples import final_bounds
from paretune.measurement import Measurement, MetricSpec, Rung
from paretune.search.constraints import Limit, Objective
from paretune.search.outcome import OutcomeKind
from paretune.search.pareto import surely_dominated

ROUGH_SLACK = 0.15
"""Share of its value by which a rough device metric's interval is widened on both sides."""
_LEAST_SLACK = 0.05
"""A quiet minute's noise floor says little about the next hour."""


def rough_slack(noise_floor: float | None) -> float:
    """Return the share by which a rough interval is widened on a device.

    Args:
        noise_floor: What two processes' medians of the same work differ by; None: not known.
    """
    return ROUGH_SLACK if noise_floor is None else max(_LEAST_SLACK, noise_floor)


@dataclass(frozen=True)
class Stop:
    """Why a candidate need not go on.

    Attributes:
        kind: ``infeasible`` or ``pruned``.
        reason: In words, with both numbers.
        constraint: Text of the constraint that is broken, if one is.
    """

    kind: OutcomeKind
    reason: str
    constraint: str | None = None


def cautious(
    measurement: Measurement, spec: MetricSpec | None, rung: Rung, slack: float = ROUGH_SLACK
) -> Measurement:
    """Return a measurement with the interval that an early decision may rely on.

    Args:
        measurement: As measured at `rung`.
        spec: What the metric is; None if unknown.
        rung: Where it was measured.
        slack: Share by which a rough device metric is widened (see `rough_slack`).
    """
    if spec is None or not spec.device or rung is Rung.FULL or measurement.low is None:
        return measurement
    assert measurement.high is not None
    more = slack * abs(measurement.value or 0.0)
    return replace(measurement, low=measurement.low - more, high=measurement.high + more)


def foreseen(measured: Measurement, reference: Measurement | None) -> Measurement:
    """Return a share with the interval of what all examples will give, where that can be bounded.

    Args:
        measured: On some examples, or all.
        reference: The baseline's, on all of them; None: there is none.
    """
    bounds = None if reference is None else final_bounds(measured, reference)
    if bounds is None:
        return measured
    return replace(measured, low=bounds[0], high=bounds[1])


def broken_limit(measured: Mapping[str, Measurement], limits: Sequence[Limit]) -> Stop | None:
    """Return a stop if a constraint is surely broken."""
    for limit in limits:
        m = measured.get(limit.metric)
        if m is not None and limit.surely_broken(m):
            exact = m.low is None or m.low == m.high
            interval = "" if exact else f", surely between {_num(m.low)} and {_num(m.high)}"
            unit = "" if m.unit in ("", "fraction") else f" {m.unit}"
            reason = f"{limit.metric} is {_num(m.value)}{unit}{interval}; needs {limit.text}"
            return Stop(OutcomeKind.INFEASIBLE, reason, limit.text)
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
    return Stop(OutcomeKind.PRUNED, f"surely beaten by candidate {winner}: {shown}")


def _num(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4g}"
