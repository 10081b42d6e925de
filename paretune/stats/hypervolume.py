"""The hypervolume of a set of points: the volume of all that at least one of them exceeds.

A point has one positive coordinate per objective: its distance from the reference point, so that
more is better. The algorithm is WFG (While, Bradstreet and Barone, "A fast way of calculating exact
hypervolumes", 2012): the volume of a set is the sum of what each point adds to those after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

Point = tuple[float, ...]


def hypervolume(points: Iterable[Point]) -> float:
    """Return the volume between the origin and a set of points.

    Args:
        points: All of one length; dominated and equal ones add nothing.
    """
    ordered = sorted(set(points), key=lambda point: point[::-1])
    if not ordered or len(ordered[0]) == 1:
        return max((point[0] for point in ordered), default=0.0)
    if len(ordered[0]) == 2:
        return _area(ordered)
    # Those after a point have at least its last coordinate: it needs no further comparison.
    return sum(
        point[-1] * added(point[:-1], [other[:-1] for other in ordered[place:]])
        for place, point in enumerate(ordered, start=1)
    )


def added(point: Point, others: Sequence[Point]) -> float:
    """Return by how much a point increases the volume of others.

    Args:
        point: The point.
        others: Of the same length.
    """
    return math.prod(point) - hypervolume(tuple(map(min, point, other)) for other in others)


def _area(ordered: Sequence[Point]) -> float:
    """Return the volume of points in the plane that ascend by their second coordinate."""
    area = reached = 0.0
    for x, y in reversed(ordered):
        area += max(0.0, x - reached) * y
        reached = max(reached, x)
    return area
