"""How many examples are measured at a time, until the others could change nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from paretune.core.measurement import Rung
from paretune.core.result import StepTime, TrialResult

_NEGLIGIBLE_S = 1.0
"""A measurement that is over in less is as good as free."""


def part_ends(
    evaluator: str, rough: int, whole: int, own: Sequence[StepTime], others: Iterable[TrialResult]
) -> Iterator[int]:
    """Yield how many examples were measured at the end of each part, fewer than all.

    Each part is a process, which loads the model and the data before its first example. A part has
    as many examples as all before it, and at least so many that they take as long as that: all
    parts together take at most about twice as long as one measurement of all examples.

    Args:
        evaluator: What measures.
        rough: How many examples the rough rung has.
        whole: How many there are.
        own: What this trial's steps took; its rough rung is among them.
        others: Outcomes; those that measured every example tell what an example takes.
    """
    seen, least = rough, _least(evaluator, rough, whole, own, others)
    while seen + max(seen, least) < whole:
        seen += max(seen, least)
        yield seen


def _least(
    evaluator: str, rough: int, whole: int, own: Sequence[StepTime], others: Iterable[TrialResult]
) -> int:
    """Return how many examples take as long as the beginning of a process.

    0 if nothing is known, or it is negligible; `whole` if examples take no time beside it.
    """
    first_s = _seconds(own, f"{evaluator}:{Rung.ROUGH}")
    rest = whole - 2 * rough
    if first_s < _NEGLIGIBLE_S or rest <= 0:
        return 0
    last = f"{evaluator}:{Rung.FULL}"
    # The most: after parts there was less left to measure.
    last_s = max((_seconds(outcome.seconds, last) for outcome in others), default=0.0)
    if last_s == 0.0:
        return 0
    # The rough rung and the last one each begin a process, and measure `rough` and the others.
    example_s = (last_s - first_s) / rest
    if example_s <= 0:
        return whole
    return min(whole, max(0, math.ceil(first_s / example_s - rough)))


def _seconds(steps: Iterable[StepTime], name: str) -> float:
    """Return what the first step of that name took that ran; 0 if none did."""
    return next((s.s for s in steps if s.step == name and not s.cached), 0.0)
