"""Feasible hypervolume: what a set of points dominates, up to a reference point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

Points: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.float64]]


def nondominated(points: Points) -> Points:
    """Return the points that no other point dominates, all to be minimized; repeats once."""
    kept = np.empty((0, points.shape[1]))
    for point in np.unique(points, axis=0):  # in lexicographic order: later ones never dominate
        if not len(kept) or not np.any(np.all(kept <= point, axis=1)):
            kept = np.vstack([kept, point])
    return kept


def hypervolume(points: Points, reference: Sequence[float]) -> float:
    """Return the volume that points dominate; exact, for any number of objectives.

    Args:
        points: One row a point, all to be minimized.
        reference: The worst point that counts.
    """
    inside = points[np.all(points < np.asarray(reference), axis=1)]
    return _volume(nondominated(inside), tuple(reference)) if len(inside) else 0.0


def _volume(front: Points, reference: tuple[float, ...]) -> float:
    """Return the volume of a front, by slices along its last objective."""
    if len(reference) == 1:
        return reference[0] - float(front[:, 0].min())
    if len(reference) == 2:
        order = front[np.argsort(front[:, 0], kind="stable")]
        widths = np.append(order[1:, 0], reference[0]) - order[:, 0]
        heights = reference[1] - np.minimum.accumulate(order[:, 1])
        return float(np.sum(widths * heights))
    order = front[np.argsort(front[:, -1], kind="stable")]
    ends = np.append(order[1:, -1], reference[-1])
    total = 0.0
    for count, end in enumerate(ends, start=1):
        depth = end - order[count - 1, -1]
        if depth > 0:
            total += depth * _volume(nondominated(order[:count, :-1]), reference[:-1])
    return total
