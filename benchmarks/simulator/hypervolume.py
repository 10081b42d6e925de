"""Feasible hypervolume: what a set of points dominates, up to a reference point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from paretune.stats import hypervolume as exact

Points: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.float64]]


def hypervolume(points: Points, reference: Sequence[float]) -> float:
    """Return the volume that points dominate; exact, for any number of objectives.

    Args:
        points: One row a point, all to be minimized.
        reference: The worst point that counts.
    """
    better = np.asarray(reference) - points
    inside = better[np.all(better > 0, axis=1)]
    return exact.hypervolume(map(tuple, inside.tolist()))
