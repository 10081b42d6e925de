"""Where a study stands: feasible, Pareto front, best and nearest miss, derived from its outcomes.

Nothing of this is stored as truth: with other constraints or objectives the same outcomes give
another summary, which is what ``paretune pick`` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from paretune.core.jsontools import Json
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.constraints import Constraint, Limit, Objective
from paretune.search.pareto import best_of, nearest_miss, pareto_front


@dataclass(frozen=True)
class StudySummary:
    """What is derived from the outcomes of a study at one moment.

    Attributes:
        limits: The constraints with the number in force; one relative to a baseline that has no
            such metric is not among them.
        unresolved: Constraints that could not be given a number.
        feasible: Ids of the candidates that meet every constraint.
        front: Ids of the feasible Pareto front, ascending.
        best: Id of the pick, if anything is feasible.
        nearest_miss: ``{id, constraint, value, limit}`` where nothing is feasible.
        unsettled: Ids of the candidates that would be on the front if the values that they took
            over were right, and if those met their limits; the one to be picked first.
    """

    limits: tuple[Limit, ...]
    unresolved: tuple[Constraint, ...]
    feasible: Set[int]
    front: tuple[int, ...]
    best: int | None
    nearest_miss: Mapping[str, Json] | None
    unsettled: tuple[int, ...] = ()


def values(outcome: TrialResult) -> dict[str, float]:
    """Return an outcome's point values; metrics without one are left out."""
    measured = outcome.measurements or {}
    return {name: m.value for name, m in measured.items() if m.value is not None}


def resolve(
    constraints: Iterable[Constraint], baseline: TrialResult | None
) -> tuple[tuple[Limit, ...], tuple[Constraint, ...]]:
    """Return the constraints with their numbers, and those that have none.

    A baseline that did not come to its end gives no number but what is exact: its rough values are
    no reference for others.

    Args:
        constraints: As configured.
        baseline: The baseline's outcome, if it is there.
    """
    reference = {} if baseline is None else values(baseline)
    if baseline is not None and baseline.kind is not OutcomeKind.OK:
        measured = baseline.measurements or {}
        reference = {k: v for k, v in reference.items() if measured[k].protocol.startswith("exact")}
    limits, unresolved = [], []
    for constraint in constraints:
        limit = constraint.resolve(reference)
        if limit is None:
            unresolved.append(constraint)
        else:
            limits.append(limit)
    return tuple(limits), tuple(unresolved)


def violations(outcome: TrialResult, limits: Sequence[Limit]) -> tuple[float, ...]:
    """Return by how much each limit is broken, relative to it; 0 where it holds.

    A metric that was not measured counts as infinitely far from its limit; of a candidate that its
    parent has stopped, the parent's stands for its own.
    """
    parent = outcome.parent.metrics if outcome.stopped_by_parent and outcome.parent else {}
    return tuple(
        limit.violation(
            parent[limit.metric].value if limit.metric in parent else outcome.value(limit.metric)
        )
        for limit in limits
    )


def rests_on_others(outcome: TrialResult, metrics: Iterable[str]) -> bool:
    """Return whether a candidate took one of these metrics over from another candidate."""
    measured = outcome.measurements or {}
    return any(name in measured and measured[name].taken_over for name in metrics)


def summarize(
    outcomes: Sequence[TrialResult],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    baseline: TrialResult | None,
    prefer: str | None = None,
) -> StudySummary:
    """Derive the summary of a study.

    A candidate that took the value of a limit over is not feasible, and one that took an objective
    over is not on the front, before it measured them itself (`search/sharing.py`).

    Args:
        outcomes: All of them, in any order.
        objectives: In order of importance.
        constraints: Each must hold by the point value at the last rung.
        baseline: Outcome of the baseline, for constraints relative to it.
        prefer: Metric to choose the best by first, instead of the first objective.
    """
    limits, unresolved = resolve(constraints, baseline)
    finished = {o.id: o for o in outcomes if o.kind is OutcomeKind.OK}
    limited, wanted = [limit.metric for limit in limits], [o.metric for o in objectives]
    hoped = {
        id
        for id, outcome in finished.items()
        if not unresolved
        and all(
            limit.holds(outcome.value(limit.metric)) or rests_on_others(outcome, [limit.metric])
            for limit in limits
        )
    }
    feasible = {id for id in hoped if not rests_on_others(finished[id], limited)}
    settled = {id for id in feasible if not rests_on_others(finished[id], wanted)}
    rows = {id: values(finished[id]) for id in sorted(hoped)}
    front = pareto_front({id: rows[id] for id in rows if id in settled}, objectives)
    unsettled = [] if hoped == settled else sorted({*pareto_front(rows, objectives)} - settled)
    measured = {id: finished[id].measurements or {} for id in front}
    best = best_of(front, measured, objectives, prefer) if front else None
    miss = None
    if best is None:
        whole = {o.id: values(o) for o in finished.values()}
        stopped = {o.id: values(o) for o in outcomes if o.kind is OutcomeKind.INFEASIBLE}
        miss = nearest_miss(whole, limits, stopped)
    if len(unsettled) > 1:
        measured = {id: finished[id].measurements or {} for id in unsettled}
        first = best_of(unsettled, measured, objectives, prefer)
        unsettled.sort(key=lambda id: (id != first, id))
    return StudySummary(
        limits, unresolved, frozenset(feasible), tuple(front), best, miss, tuple(unsettled)
    )
