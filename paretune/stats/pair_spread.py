"""By how much the speeds of two builds of one structure differ.

Two such builds run the same program, so they should be no further apart than two processes of one
of them. That is the prior; what pairs of a study were seen to differ by updates it. The differences
of logarithms are taken as normal, and their variance as inverse gamma, so that the interval of the
next pair's difference is Student's t.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace

from paretune.core.measurement import Measurement
from paretune.stats.intervals import student_t

_NORMAL = 1.960
_PRIOR_WORTH = 4
"""Pairs that the prior is worth."""


def pair_width(prior: float, groups: Iterable[Sequence[float]]) -> float:
    """Return by how much the logarithms of two builds' values differ at most, in 95 % of cases.

    Args:
        prior: The share by which two processes of the same work differ at most, in as many.
        groups: The values of builds that were each measured themselves, by structure; groups with
            fewer than two positive ones tell nothing.
    """
    squares, freedom = _PRIOR_WORTH * (prior / _NORMAL) ** 2, _PRIOR_WORTH
    for values in groups:
        logs = [math.log(value) for value in values if value > 0]
        if len(logs) > 1:
            # Twice the variance of one is the variance of a difference.
            squares += 2 * statistics.variance(logs) * (len(logs) - 1)
            freedom += len(logs) - 1
    return student_t(freedom) * math.sqrt(squares / freedom)


def widened(measured: Measurement, width: float) -> Measurement:
    """Return a measurement as another build of its structure has it.

    Args:
        measured: Of the build that was measured.
        width: See `pair_width`.

    Returns:
        The same value, with both uncertainties in its interval; without one if it had none.
    """
    value, low, high = measured.value, measured.low, measured.high
    if value is None or low is None or high is None or min(low, value) <= 0:
        return replace(measured, low=None, high=None)
    below = math.hypot(math.log(value / low), width)
    above = math.hypot(math.log(high / value), width)
    return replace(measured, low=value * math.exp(-below), high=value * math.exp(above))
