"""Rank correlation: whether two rows of numbers are in the same order."""

from __future__ import annotations

import math
from collections.abc import Sequence

FEWEST = 3
"""Fewer pairs have no rank correlation that says anything."""


def ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, from 1; equal values share the mean of their ranks."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0.0] * len(values)
    begin = 0
    while begin < len(order):
        end = begin + 1
        while end < len(order) and values[order[end]] == values[order[begin]]:
            end += 1
        for place in order[begin:end]:
            found[place] = (begin + 1 + end) / 2
        begin = end
    return found


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation, from -1 (the opposite order) to 1 (the same).

    Args:
        a: Finite numbers.
        b: As many.

    Returns:
        None: fewer than `FEWEST` pairs, or all values of one row are equal.
    """
    if len(a) < FEWEST:
        return None
    middle = (len(a) + 1) / 2
    x, y = ([rank - middle for rank in ranks(row)] for row in (a, b))
    scale = math.sqrt(sum(v * v for v in x) * sum(w * w for w in y))
    if not scale:
        return None
    found = sum(v * w for v, w in zip(x, y, strict=True)) / scale
    return max(-1.0, min(1.0, found))
