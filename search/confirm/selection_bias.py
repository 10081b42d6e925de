"""How much better the pick looks than it is, because it was chosen for looking good.

The whole choice is made again many times (a parametric bootstrap): true values are drawn from what
is known of them, pulled together as far as their spread says (`search/confirm/joint.py`), examples
are drawn about them, and the pick is chosen by the same rule and limits. By how much the chosen
one's measured value then exceeds its true one, on average, is the bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paretune.core.jsontools import Json
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.confirm.joint import MIN_COUNT, Draws, errors_of
from paretune.search.constraints import Limit, Objective, in_order
from paretune.search.summary import StudySummary
from paretune.stats.by_example import scores

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]
    Mask = np.ndarray[Any, np.dtype[np.bool_]]

_DRAWS = 2000
MAX_CANDIDATES = 120


@dataclass(frozen=True)
class SelectionBias:
    """What being chosen added to a metric of the pick.

    Attributes:
        metric: The metric.
        raw: As measured.
        bias: By how much the measured value of the chosen candidate exceeds the true one.
        corrected: Without it.
    """

    metric: str
    raw: float
    bias: float
    corrected: float

    def to_json(self) -> dict[str, Json]:
        """Return the four fields by name."""
        return {
            "metric": self.metric,
            "raw": self.raw,
            "bias": self.bias,
            "corrected": self.corrected,
        }


def selection_bias(
    outcomes: Sequence[TrialResult],
    summary: StudySummary,
    objectives: Sequence[Objective],
    limits: Sequence[Limit],
    baseline: TrialResult | None,
    prefer: str | None = None,
) -> SelectionBias | None:
    """Return the bias of the metric that the pick is chosen by on examples; None if there is none.

    Args:
        outcomes: All of a study's, with raw samples.
        summary: Derived from them.
        objectives: In order of importance.
        limits: In force.
        baseline: The one that limits are relative to.
        prefer: Metric that the pick was chosen by first.
    """
    import numpy as np

    if summary.best is None:
        return None
    order = in_order(objectives, prefer)
    ok = [
        o
        for o in outcomes
        if o.kind is OutcomeKind.OK and all(o.value(one.metric) is not None for one in order)
    ]
    mine = next(o for o in ok if o.id == summary.best)
    metric = _by_example(mine, order, limits)
    if metric is None:
        return None
    ok = _nearest(ok, metric, order, summary.best, baseline)
    errors = errors_of(ok, metric)
    raw = mine.value(metric)
    assert raw is not None
    if len(ok) == 1 and not limits:
        return SelectionBias(metric, raw, 0.0, raw)  # nothing was selected
    if summary.best not in errors.column or errors.covariance is None:
        return None
    columns = [errors.column[o.id] for o in ok]
    noise = np.random.default_rng(11).standard_normal((_DRAWS, len(errors.values) + 1))
    worlds = Draws(errors, noise).likeliest(sorted(set(columns)))
    again = np.random.default_rng(12).standard_normal((_DRAWS, len(errors.values) + 1))
    measured = worlds + Draws(errors, again).plain() - errors.values
    truth, seen = worlds[:, columns], measured[:, columns]
    chosen, there = _choose(ok, metric, seen, order, limits, baseline)
    if not there.any():
        return None
    rows = np.flatnonzero(there)
    bias = float((seen[rows, chosen[rows]] - truth[rows, chosen[rows]]).mean())
    return SelectionBias(metric, raw, bias, raw - bias)


def _by_example(
    pick: TrialResult, order: Sequence[Objective], limits: Sequence[Limit]
) -> str | None:
    """Return the first metric in the choice that is measured on enough examples."""
    for metric in dict.fromkeys([o.metric for o in order] + [x.metric for x in limits]):
        found = scores((pick.measurements or {}).get(metric))
        if found is not None and len(found.rows) >= MIN_COUNT:
            return metric
    return None


def _nearest(
    ok: Sequence[TrialResult],
    metric: str,
    order: Sequence[Objective],
    pick: int,
    baseline: TrialResult | None,
) -> list[TrialResult]:
    """Return the candidates that a choice may fall on, if there are very many."""
    direction = next((o.direction for o in order if o.metric == metric), "maximize")
    sign = 1.0 if direction == "minimize" else -1.0
    near = sorted(ok, key=lambda o: sign * (o.value(metric) or 0.0))[:MAX_CANDIDATES]
    wanted = {o.id for o in near} | {pick} | ({baseline.id} if baseline is not None else set())
    return [o for o in ok if o.id in wanted]


def _choose(
    ok: Sequence[TrialResult],
    metric: str,
    seen: Array,
    order: Sequence[Objective],
    limits: Sequence[Limit],
    baseline: TrialResult | None,
) -> tuple[Any, Mask]:
    """Return whom the rule picks in each draw, and in which draws anybody is feasible."""
    import numpy as np

    def of(name: str) -> Array:
        if name == metric:
            return seen
        values = [o.value(name) for o in ok]
        row = np.array([np.nan if v is None else v for v in values], dtype=float)
        return np.broadcast_to(row, seen.shape)

    left = np.ones(seen.shape, dtype=bool)
    base = next((i for i, o in enumerate(ok) if baseline is not None and o.id == baseline.id), None)
    compare = {"<=": np.less_equal, "<": np.less, ">=": np.greater_equal, ">": np.greater}
    for limit in limits:
        bound: Any = limit.value
        if limit.relative is not None and limit.metric == metric and base is not None:
            sign, amount = limit.relative
            reference = seen[:, [base]]
            bound = {"+": reference + amount, "-": reference - amount, "*": reference * amount}[
                sign
            ]
        left &= compare[limit.op](of(limit.metric), bound)
    there: Mask = np.asarray(left.any(axis=1))
    for objective in order[:-1]:
        signed = (
            of(objective.metric) if objective.direction == "minimize" else -of(objective.metric)
        )
        best = np.where(left, signed, np.inf).min(axis=1, keepdims=True)
        reach = objective.within.amount * (np.abs(best) if objective.within.relative else 1.0)
        left &= signed - best <= reach + 1e-9 * np.abs(best)
    last = order[-1]
    signed = of(last.metric) if last.direction == "minimize" else -of(last.metric)
    chosen = np.where(left, signed, np.inf).argmin(axis=1)
    return chosen, there
