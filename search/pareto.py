"""The Pareto front, the pick from it, and the nearest miss. Pure functions over plain values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement
from paretune.search.constraints import Limit, Objective, in_order


def pareto_front(
    rows: Mapping[int, Mapping[str, float]], objectives: Sequence[Objective]
) -> list[int]:
    """Return the ids of the rows that no other row dominates, ascending.

    A row dominates another if it is at least as good in every objective and better in one; equal
    rows are all kept. A row that lacks an objective, or has NaN for it, is never on the front.

    Args:
        rows: Id to metric values.
        objectives: What is better.
    """
    points = {}
    for id, values in rows.items():
        point = _point(values, objectives)
        if point is not None:
            points[id] = point
    # In lexicographic order nothing later can beat what came before, so that one pass against the
    # front so far is enough; equal points are looked at once. Of two objectives the last member of
    # the front has the best second value, and so beats what any of them beats.
    front: list[tuple[float, ...]] = []
    for point in sorted(set(points.values())):
        against = front if len(objectives) > 2 else front[-1:]
        if not any(_beats(other, point) for other in against):
            front.append(point)
    on_front = frozenset(front)
    return sorted(id for id, point in points.items() if point in on_front)


def _point(
    values: Mapping[str, float], objectives: Sequence[Objective]
) -> tuple[float, ...] | None:
    """Return the values as a point of which less is better; None if one is missing."""
    point = []
    for objective in objectives:
        value = values.get(objective.metric)
        if value is None or math.isnan(value):
            return None
        point.append(value if objective.direction == "minimize" else -value)
    return tuple(point)


def _beats(a: Sequence[float], b: Sequence[float]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def _interval(m: Measurement | None, objective: Objective) -> tuple[float, float] | None:
    """Return (optimistic, pessimistic) ends with less being better; None if nothing is sure."""
    if m is None or m.value is None or math.isnan(m.value):
        return None
    low, high = m.low, m.high
    if low is None or high is None:
        if not m.protocol.startswith("exact"):
            return None
        low = high = m.value
    return (low, high) if objective.direction == "minimize" else (-high, -low)


def pessimistic(
    measured: Mapping[str, Measurement], objectives: Sequence[Objective]
) -> tuple[float, ...] | None:
    """Return the worst that every objective may be, less being better; None if one is not sure."""
    ends = [_interval(measured.get(o.metric), o) for o in objectives]
    known = tuple(interval[1] for interval in ends if interval is not None)
    return known if len(known) == len(objectives) else None


def surely_dominated(
    measured: Mapping[str, Measurement],
    others: Mapping[int, Mapping[str, Measurement]],
    objectives: Sequence[Objective],
) -> int | None:
    """Return the id of a candidate whose interval is better in every objective, if there is one.

    Its pessimistic end must be at least as good as this one's optimistic end in every objective,
    and better in one.

    Args:
        measured: By metric, of the candidate in question.
        others: Id to the same of the candidates that may dominate it.
        objectives: What is better.
    """
    mine = [_interval(measured.get(o.metric), o) for o in objectives]
    optimistic = [interval[0] for interval in mine if interval is not None]
    if len(optimistic) < len(objectives):
        return None
    for id, other in sorted(others.items()):
        worst = pessimistic(other, objectives)
        if worst is not None and _beats(worst, optimistic):
            return id
    return None


def best_of(
    front: Sequence[int],
    measured: Mapping[int, Mapping[str, Measurement]],
    objectives: Sequence[Objective],
    prefer: str | None = None,
) -> int | None:
    """Return the pick from a feasible front.

    By each objective, in order: those stay that are within its tolerance of the best of
    those left, by value; the last one's best is the pick. Of several with the very same value, the
    one that is better by the objectives in order, then the one with the lowest id.

    Args:
        front: Ids.
        measured: Id to measurements by metric.
        objectives: In order of importance, each with its tolerance.
        prefer: Metric to begin with, if it is one of the objectives.
    """
    order = in_order(objectives, prefer)
    left = sorted(front)
    if not left:
        return None
    for objective in order[:-1]:
        values = {id: _value(measured[id], objective) for id in left}
        best = min(values.values())
        left = [
            id
            for id in left
            if values[id] == best or objective.within.holds(values[id] - best, best)
        ]
    last = (order[-1], *order[:-1])
    return min(left, key=lambda id: (*(_value(measured[id], o) for o in last), id))


def _value(measured: Mapping[str, Measurement], objective: Objective) -> float:
    m = measured.get(objective.metric)
    if m is None or m.value is None:
        return math.inf
    return m.value if objective.direction == "minimize" else -m.value


def nearest_miss(
    rows: Mapping[int, Mapping[str, float]],
    limits: Iterable[Limit],
    stopped: Mapping[int, Mapping[str, float]] | None = None,
) -> dict[str, Json] | None:
    """Return who came nearest to meeting every limit, and the limit that cost it most.

    A candidate's miss is its largest relative violation. One that was measured to its end and lacks
    a metric does not count; one that was stopped early counts by what it broke, for the rest of it
    was not measured because of that.

    Args:
        rows: Id to metric values, of candidates that were measured to their end.
        limits: The constraints in force.
        stopped: The same of those that a broken limit stopped.
    """
    limits, stopped = tuple(limits), stopped or {}
    misses = []
    for id, values in sorted({**rows, **stopped}.items()):
        asked = [limit for limit in limits if id not in stopped or limit.metric in values]
        by_limit = [(limit.violation(values.get(limit.metric)), limit) for limit in asked]
        worst, limit = max(by_limit, key=lambda pair: pair[0], default=(math.inf, None))
        if limit is not None and 0 < worst < math.inf:
            misses.append((worst, id, limit))
    if not misses:
        return None
    _, id, limit = min(misses, key=lambda miss: miss[:2])
    value = {**rows, **stopped}[id][limit.metric]
    return {"id": id, "constraint": limit.text, "value": value, "limit": limit.value}
