"""How much processes of one model differ, learnt from all models of a study.

Three processes of one candidate tell little of how far apart processes lie: an interval by
Student's t on two degrees of freedom is wide, and how wide is chance. But a study has many
candidates, and their processes differ by about as much. So a candidate's variance is drawn towards
what is usual in the study, as far as the candidates' variances agree with each other (G. K. Smyth,
"Linear models and empirical Bayes methods for assessing differential expression", 2004). Where they
do not agree, because slow spells hit some, the candidate's own counts.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from paretune.stats.intervals import student_t

MIN_COUNT = 5
"""Candidates below which nothing is learnt from others."""
_MAX_FREEDOM = 10.0
"""However well the variances agree, others count no more than so many own processes."""
_MIN_VARIANCE = 1e-8
"""Two processes that agree to a ten-thousandth give no usable logarithm of a variance."""


@dataclass(frozen=True)
class Spread:
    """What is usual in a study for one metric.

    Attributes:
        variance: Of the logarithms of processes' values.
        freedom: Degrees of freedom that it is worth.
        candidates: How many it was learnt from.
    """

    variance: float
    freedom: float
    candidates: int


def learnt(groups: Iterable[Sequence[float]]) -> Spread | None:
    """Return what is usual; None if too few say anything, or they do not agree at all.

    Args:
        groups: The processes' values of each candidate.
    """
    known = [
        (_variance(tuple(values)), len(values) - 1)
        for values in groups
        if len(values) > 1 and min(values) > 0
    ]
    if len(known) < MIN_COUNT:
        return None
    logs = [
        math.log(max(variance, _MIN_VARIANCE)) - digamma(freedom / 2) + math.log(freedom / 2)
        for variance, freedom in known
    ]
    beyond = statistics.variance(logs) - statistics.fmean(trigamma(f / 2) for _, f in known)
    middle = statistics.fmean(logs)
    if beyond <= 0:  # they differ by no more than chance: all have the same
        whole = sum(freedom for _, freedom in known)
        pooled = sum(variance * freedom for variance, freedom in known) / whole
        return Spread(max(pooled, _MIN_VARIANCE), _MAX_FREEDOM, len(known))
    freedom = 2 * inverse_trigamma(beyond)
    variance = math.exp(middle + digamma(freedom / 2) - math.log(freedom / 2))
    return Spread(variance, min(freedom, _MAX_FREEDOM), len(known))


@lru_cache(maxsize=1024)
def _variance(values: tuple[float, ...]) -> float:
    """Return the variance of the logarithms; a candidate is among the latest for a while."""
    return statistics.variance(list(map(math.log, values)))


def half_width(numbers: Sequence[float], spread: Spread | None) -> float:
    """Return half of the 95 % interval of what numbers centre on.

    Args:
        numbers: At least two; logarithms if `spread` is given.
        spread: What is usual in the study; None: these numbers alone tell.
    """
    own, freedom = statistics.variance(numbers), float(len(numbers) - 1)
    if spread is not None:
        worth = spread.freedom + freedom
        own = (spread.freedom * spread.variance + freedom * own) / worth
        freedom = worth
    return student_t(freedom) * math.sqrt(own / len(numbers))


@lru_cache(maxsize=256)
def digamma(x: float) -> float:
    """Return the derivative of the logarithm of the gamma function; `x` is positive."""
    below = 0.0
    while x < 8:
        below, x = below - 1 / x, x + 1
    square = 1 / (x * x)
    series = square * (1 / 12 - square * (1 / 120 - square / 252))
    return below + math.log(x) - 1 / (2 * x) - series


@lru_cache(maxsize=256)
def trigamma(x: float) -> float:
    """Return the derivative of `digamma`."""
    below = 0.0
    while x < 8:
        below, x = below + 1 / (x * x), x + 1
    square = 1 / (x * x)
    series = square * (1 / 6 - square * (1 / 30 - square / 42))
    return below + 1 / x + square / 2 + series / x


def inverse_trigamma(value: float) -> float:
    """Return where `trigamma` takes a positive value; it falls from infinity to 0."""
    low, high = 1e-9, 1e9
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if trigamma(middle) > value else (low, middle)
    return math.sqrt(low * high)
