"""How much slower the search's own hour was than one round of the re-measurement.

Candidates beside the finalists were not measured in the round's hour. Multiplied by its level, a
round says how far finalists are from each other, and not how far the two hours are.

Each finalist of the round says it by its value so far over its value in the round. The median
counts each as often as it was measured before: the pick, which runs in most rounds, is known best,
and a challenger that has joined for the first time does not shift the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from paretune.core.measurement import Measurement
from paretune.stats.pooling import processes_of

Measured = Mapping[str, Measurement]


def levels_of(found: Mapping[int, Measured], known: Mapping[int, Measured]) -> dict[str, float]:
    """Return the level of a round, by metric.

    Args:
        found: What the round measured, by candidate.
        known: What was measured of each before it.
    """
    levels = {}
    for name in {name for block in found.values() for name in block}:
        told = []
        for id, block in found.items():
            before = known[id].get(name)
            now = block[name].value if name in block else None
            if before is not None and before.value and before.value > 0 and now:
                told.append((math.log(before.value / now), len(processes_of(before))))
        if told:
            levels[name] = math.exp(_median(told))
    return levels


def _median(weighted: list[tuple[float, int]]) -> float:
    """Return the median of numbers, each with how often it counts."""
    half, seen = sum(weight for _, weight in weighted) / 2, 0.0
    ordered = sorted(weighted)
    for place, (number, weight) in enumerate(ordered):
        seen += weight
        if seen == half:
            return (number + ordered[place + 1][0]) / 2
        if seen > half:
            return number
    raise ValueError("nothing to take a median of")
