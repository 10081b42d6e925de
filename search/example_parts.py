"""How many examples are measured at a time, until the others could change nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from paretune.core.measurement import Rung
from paretune.core.result import StepTime, TrialResult

_NEGLIGIBLE_S = 1.0
"""A measurement that is over in less is as good as free."""


def least_part(
    evaluator: str, rough: int, whole: int, own: Sequence[StepTime], others: Iterable[TrialResult]
) -> int:
    """Return how many examples a part should have at least.

    Each part is a process, which loads the model and the data before its first example. A part
    takes at least as long for its examples as for that, so that all parts together take at most
    about twice as long as one measurement of all examples.

    Args:
        evaluator: What measures.
        rough: How many examples the rough rung has.
        whole: How many there are.
        own: What this trial's steps took; its rough rung is among them.
        others: Outcomes; those that measured every example tell what an example takes.

    Returns:
        0 if nothing is known, or the beginning of a process is negligible; `whole` if examples
        take no time beside it.
    """
    first_s = next((s.s for s in own if s.step == f"{evaluator}:{Rung.ROUGH}" and not s.cached), 0)
    rest = whole - 2 * rough
    full = (_whole_s(outcome.seconds, evaluator) for outcome in others)
    rest_s = max(full, default=0.0)  # the most: after parts there was less left to measure
    if first_s < _NEGLIGIBLE_S or rest <= 0 or rest_s == 0.0:
        return 0
    # The rough rung and the last one each begin a process, and measure `rough` and the others.
    example_s = (rest_s - first_s) / rest
    if example_s <= 0:
        return whole
    return min(whole, max(0, math.ceil((first_s - example_s * rough) / example_s)))


def _whole_s(steps: Iterable[StepTime], evaluator: str) -> float:
    """Return what a trial's measurement of all examples took; 0 if it made none."""
    return next((s.s for s in steps if s.step == f"{evaluator}:{Rung.FULL}" and not s.cached), 0.0)
