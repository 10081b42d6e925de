"""What points would add to the volume that a front dominates. All values are minimized."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from paretune.search.surrogate.layout import Matrix

Point = Sequence[float]


def gaps(front: Sequence[Point], reference: Point) -> tuple[Matrix, Matrix]:
    """Return the part below a reference point that a front does not dominate, as disjoint boxes.

    Args:
        front: Points, of which some may dominate others.
        reference: Only what is better than it in every objective counts.

    Returns:
        Lower and upper corners, one row per box; a lower corner may be infinite.
    """
    inside = [tuple(p) for p in front if all(a < b for a, b in zip(p, reference, strict=True))]
    boxes = _gaps(sorted(set(inside)), tuple(reference))
    low, high = np.array([b[0] for b in boxes]), np.array([b[1] for b in boxes])
    return low.reshape(-1, len(reference)), high.reshape(-1, len(reference))


def _gaps(
    points: Sequence[tuple[float, ...]], reference: tuple[float, ...]
) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    if len(reference) == 1:
        return [((-np.inf,), (min([p[0] for p in points] + [reference[0]]),))]
    by_last = sorted(points, key=lambda p: p[-1])
    borders = [-np.inf, *(p[-1] for p in by_last), reference[-1]]
    found = []
    below: list[tuple[float, ...]] = []
    for number, (start, end) in enumerate(pairwise(borders)):
        if end > start:
            for low, high in _gaps(below, reference[:-1]):
                found.append(((*low, start), (*high, end)))
        if number < len(by_last):
            below = _without_dominated([*below, by_last[number][:-1]])
    return found


def _without_dominated(points: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    return [
        p
        for i, p in enumerate(points)
        if not any(
            all(a <= b for a, b in zip(q, p, strict=True)) and (q != p or j < i)
            for j, q in enumerate(points)
            if j != i
        )
    ]


def gains(points: Matrix, boxes: tuple[Matrix, Matrix]) -> Matrix:
    """Return the volume that each point alone would add.

    Args:
        points: Any shape; the last axis holds the objectives.
        boxes: What `gaps` returned.

    Returns:
        Of the points' shape without the last axis.
    """
    low, high = boxes
    total = np.zeros(points.shape[:-1])
    for lower, upper in zip(low, high, strict=True):
        total += np.prod(np.clip(upper - np.maximum(lower, points), 0.0, None), axis=-1)
    return total
