"""What points would add to the volume that a front dominates. All values are minimized."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from paretune.search.surrogate.layout import Matrix

Point = Sequence[float]
Weighted = tuple[Matrix, Matrix]
"""Values, and a weight for each."""


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
            below = _with(below, by_last[number][:-1])
    return found


def _with(points: Sequence[tuple[float, ...]], new: tuple[float, ...]) -> list[tuple[float, ...]]:
    """Return points of which none dominates another, and a new one, without the dominated."""
    if any(all(a <= b for a, b in zip(old, new, strict=True)) for old in points):
        return list(points)
    return [old for old in points if any(a < b for a, b in zip(old, new, strict=True))] + [new]


def expected_gains(values: Sequence[Weighted], boxes: tuple[Matrix, Matrix]) -> Matrix:
    """Return the volume that each candidate alone is expected to add.

    The objectives are independent of each other. So the expectation of what a candidate covers of a
    box is the product, over the objectives, of the expected width that it covers (Yang, Emmerich,
    Deutz and Baeck, "Efficient computation of expected hypervolume improvement using box
    decomposition algorithms", J. Global Optimization 2019).

    Args:
        values: Per objective, values of equal probability and their weights, both of shape
            (candidates, values); a value of weight 0 covers nothing.
        boxes: What `gaps` returned.

    Returns:
        One per candidate.
    """
    total = 1.0
    for lows, highs, (points, weights) in zip(boxes[0].T, boxes[1].T, values, strict=True):
        edges, places = np.unique([lows, highs], return_inverse=True)
        below = np.stack([np.mean(weights * np.clip(e - points, 0, None), axis=1) for e in edges])
        of_lows, of_highs = places.reshape(2, -1)
        total = total * (below[of_highs] - below[of_lows])
    gains: Matrix = np.sum(total, axis=0)
    return gains
