"""Which candidates are measured again: those that may be the pick, the likeliest first.

Only a few can be. The pick is open between the current one and the candidates whose intervals
overlap with it, so that they may be within the tolerance in every objective. Of the others, those
that are nearest to it come first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from paretune.core.measurement import Measurement
from paretune.search.constraints import Limit, Objective

Measured = Mapping[str, Measurement]


def likeliest_first(
    pick: int,
    others: Iterable[int],
    measured: Mapping[int, Measured],
    objectives: Sequence[Objective],
) -> list[int]:
    """Return the pick and then the others, by how far each is from being the pick.

    Args:
        pick: Who is chosen as things stand.
        others: Who else may be.
        measured: Of all of them, by id.
        objectives: In order of importance, with their tolerances.
    """

    def far(id: int) -> tuple[float, float, int]:
        parts = [_apart(measured[id], measured[pick], o) for o in objectives]
        return sum(beyond for beyond, _ in parts), sum(points for _, points in parts), id

    return [pick, *sorted({*others} - {pick}, key=far)]


def overlap(a: Measured, b: Measured, objectives: Sequence[Objective]) -> bool:
    """Return whether two candidates are within the tolerance in every objective for all we know."""
    return not any(_apart(a, b, objective)[0] for objective in objectives)


def nearest_to_limits(
    ids: Iterable[int], measured: Mapping[int, Measured], limits: Sequence[Limit]
) -> int | None:
    """Return the candidate that misses its limits by least; None if there is none."""

    def miss(id: int) -> tuple[float, int]:
        found = (measured[id].get(limit.metric) for limit in limits)
        values = [None if m is None else m.value for m in found]
        broken = [x.violation(value) for x, value in zip(limits, values, strict=True)]
        return max(broken, default=0.0), id

    return min(ids, key=miss, default=None)


def _apart(a: Measured, b: Measured, objective: Objective) -> tuple[float, float]:
    """Return by how much two intervals differ beyond the tolerance, and two points; as shares."""
    mine, other = a.get(objective.metric), b.get(objective.metric)
    if mine is None or other is None or mine.value is None or other.value is None:
        return 0.0, 0.0
    scale = max(abs(mine.value), abs(other.value)) or 1.0
    (low, high), (beside, above) = _ends(mine), _ends(other)
    between = max(0.0, low - above, beside - high)
    beyond = max(0.0, between - objective.within.reach(other.value))
    return beyond / scale, abs(mine.value - other.value) / scale


def _ends(m: Measurement) -> tuple[float, float]:
    assert m.value is not None
    if m.low is None or m.high is None:
        return m.value, m.value
    return m.low, m.high
