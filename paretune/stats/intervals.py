"""Intervals and percentiles: how sure a number is, and whether there is one at all."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

CONFIDENCE = 0.95
SUPPORT = 0.99
"""How sure it must be that a percentile's sample reaches beyond it."""
# Student's t, 97.5 %, by degrees of freedom from 1; beyond, the normal distribution's.
_T = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
    2.120,
    2.110,
    2.101,
    2.093,
    2.086,
    2.080,
    2.074,
    2.069,
    2.064,
    2.060,
    2.056,
    2.052,
    2.048,
    2.045,
    2.042,
)
_NORMAL = 1.960
_RESAMPLES = 2000
_FEWEST_OF_JACKKNIFE = 3
_RESAMPLES_OF_STATISTIC = 500
_ALL_SIGNS = 16
_PERMUTATIONS = 10_000


_SIMPSON = 400
"""Parts into which the tail of a distribution is divided, an even number."""


def student_t(freedom: float) -> float:
    """Return the 97.5 % quantile of Student's t; of a broken number the larger of its neighbours.

    Args:
        freedom: Degrees of freedom, at least 1.
    """
    whole = math.floor(freedom)
    return _T[whole - 1] if whole <= len(_T) else _NORMAL


@cache
def student_t_above(freedom: int, alpha: float) -> float:
    """Return what Student's t exceeds with a probability below one half.

    With ``t = sqrt(freedom) * tan(angle)`` the density is a power of the cosine, which is
    integrated by Simpson's rule.

    Args:
        freedom: Degrees of freedom, at least 1.
        alpha: The probability.
    """
    whole = math.sqrt(math.pi) * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2))
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        step = (math.pi / 2 - middle) / _SIMPSON
        heights = [
            max(0.0, math.cos(middle + i * step)) ** (freedom - 1) for i in range(_SIMPSON + 1)
        ]
        weighted = heights[0] + heights[-1] + 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2])
        low, high = (middle, high) if weighted * step / 3 > alpha * whole else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the score interval of a proportion.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    Args:
        successes: Between 0 and `n`.
        n: Number of trials, at least 1.
        confidence: Two-sided.
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} successes of {n}")
    z = statistics.NormalDist().inv_cdf(0.5 + confidence / 2)
    p = successes / n
    middle = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends the formula gives 0 and 1 but for rounding.
    low = 0.0 if successes == 0 else (middle - half) / scale
    high = 1.0 if successes == n else (middle + half) / scale
    return max(0.0, min(low, p)), min(1.0, max(high, p))


def bootstrap_mean(
    samples: Sequence[float], confidence: float = CONFIDENCE, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean (Efron, 1979)."""
    import numpy as np

    values = np.asarray(samples, dtype=float)
    drawn = np.random.default_rng(seed).integers(0, len(values), (_RESAMPLES, len(values)))
    return _ends(values[drawn].mean(axis=1), confidence)


def bootstrap(
    statistic: Callable[[Any], float], n: int, confidence: float = CONFIDENCE, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a statistic of examples (Efron, 1979).

    Args:
        statistic: Takes an array of the numbers of examples, some of them several times.
        n: How many examples there are.
        confidence: Two-sided.
        seed: Makes it repeatable.
    """
    import numpy as np

    draw = np.random.default_rng(seed)
    values = [statistic(draw.integers(0, n, n)) for _ in range(_RESAMPLES_OF_STATISTIC)]
    finite = [value for value in values if math.isfinite(value)]
    return _ends(finite, confidence) if finite else (math.nan, math.nan)


def jackknife_scores(
    statistic: Callable[[Any], float], value: float, n: int
) -> tuple[float, ...] | None:
    """Return what each example says of a statistic: `value`, and what it loses without the example.

    Their mean is `value`, and their standard deviation over the root of `n` is the statistic's
    standard error (Efron, "The jackknife, the bootstrap and other resampling plans", 1982).

    Args:
        statistic: Takes an array of the numbers of examples.
        value: Of all examples.
        n: How many examples there are.

    Returns:
        None for fewer than three examples, and where it has no value without one of them.
    """
    import numpy as np

    if n < _FEWEST_OF_JACKKNIFE:
        return None
    each = np.arange(n)
    without = np.array([statistic(np.delete(each, left_out)) for left_out in each])
    if not np.isfinite(without).all():
        return None
    return tuple((value + (n - 1) * (without.mean() - without)).tolist())


def paired_bootstrap_difference(
    a: Sequence[float], b: Sequence[float], confidence: float = CONFIDENCE, seed: int = 0
) -> tuple[float, float, float]:
    """Return the mean of ``a - b`` over the same examples, and its bootstrap interval.

    Args:
        a: One value per example.
        b: The same examples in the same order.
        confidence: Two-sided.
        seed: Makes it repeatable.

    Returns:
        ``(difference, low, high)``.

    Raises:
        ValueError: The two cannot be paired.
    """
    if len(a) != len(b) or not a:
        raise ValueError(f"{len(a)} and {len(b)} samples cannot be paired")
    differences = [x - y for x, y in zip(a, b, strict=True)]
    low, high = bootstrap_mean(differences, confidence, seed)
    return statistics.fmean(differences), low, high


def mcnemar(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the two-sided p-value of McNemar's exact test (1947).

    Of the examples that one of two gets right and the other wrong, each is as likely to be the
    one's as the other's if both are equally good: a binomial test. Unlike a bootstrap it holds for
    a handful of such examples too.

    Args:
        a: One value per example, 0 or 1.
        b: The same examples in the same order.
    """
    first = sum(x > y for x, y in zip(a, b, strict=True))
    other = sum(x < y for x, y in zip(a, b, strict=True))
    n = first + other
    tail = sum(math.comb(n, k) for k in range(min(first, other) + 1))
    return min(1.0, float(2 * tail / 2**n))


def paired_p(a: Sequence[float], b: Sequence[float], seed: int = 0) -> tuple[float, str]:
    """Return the two-sided p-value of two scores on the same examples, and the test's name.

    Right or wrong answers are compared by McNemar's exact test. Scores of any other kind have sizes
    that their signs do not tell: each example's difference is as likely to have the other sign if
    both are equally good (Fisher's permutation test, 1935; all of them up to 16 differences, else
    10,000 drawn ones).

    Args:
        a: One value per example.
        b: The same examples in the same order.
        seed: Of the drawn permutations.

    Returns:
        The p-value, and ``mcnemar`` or ``permutation``.
    """
    import numpy as np

    if all(value in (0.0, 1.0) for value in (*a, *b)):
        return mcnemar(a, b), "mcnemar"
    apart = np.array([x - y for x, y in zip(a, b, strict=True) if x != y])
    if not len(apart):
        return 1.0, "permutation"
    seen = abs(float(apart.sum()))
    if len(apart) <= _ALL_SIGNS:
        codes = np.arange(2 ** len(apart))[:, None] >> np.arange(len(apart)) & 1
        sums = np.abs((2 * codes - 1) @ apart)
        return float(np.mean(sums >= seen * (1 - 1e-9))), "permutation"
    rng, beyond, drawn = np.random.default_rng(seed), 0, 0
    while drawn < _PERMUTATIONS:  # in parts: memory
        signs = rng.integers(0, 2, (500, len(apart)), dtype=np.int8) * 2 - 1
        beyond += int(np.sum(np.abs(signs @ apart) >= seen * (1 - 1e-9)))
        drawn += 500
    return (1 + beyond) / (1 + drawn), "permutation"


def _ends(values: object, confidence: float) -> tuple[float, float]:
    import numpy as np

    tail = (1 - confidence) / 2
    low, high = np.quantile(np.asarray(values), (tail, 1 - tail))
    return float(low), float(high)


def difference_interval(
    a: tuple[float, float, float], b: tuple[float, float, float]
) -> tuple[float, float]:
    """Return the interval of a - b for two independent values with intervals of their own.

    Each end is as far from the difference as the ends of both that pull it there are together, as
    the root of the sum of squares (MOVER: Zou and Donner 2008, doi:10.1002/sim.3095).

    Args:
        a: Value, lower and upper end.
        b: The same.
    """
    (value_a, low_a, high_a), (value_b, low_b, high_b) = a, b
    difference = value_a - value_b
    return (
        difference - math.hypot(value_a - low_a, high_b - value_b),
        difference + math.hypot(high_a - value_a, value_b - low_b),
    )


@cache
def samples_needed(share: float, confidence: float = SUPPORT) -> int:
    """Return how many samples carry a percentile; the median is asked of any number.

    The rule is that of MLPerf LoadGen's early stopping (``early_stopping.cc``) with one sample
    above: had the percentile lain above all samples but one, then the chance of seeing so few
    beyond it would be at most ``1 - confidence``. In other words, the second largest sample is an
    upper bound, so that one stray sample does not make the percentile. p90 needs 64 samples, p95
    130, p99 662.

    Args:
        share: Such as 0.95.
        confidence: One-sided.
    """
    if not 0 < share < 1:
        raise ValueError(f"a percentile's share lies between 0 and 1, not at {share}")
    if share == 0.5:
        return 1
    inside = max(share, 1 - share)

    def enough(n: int) -> bool:
        # P(at most one of n samples lies beyond the percentile), a binomial probability.
        return inside**n + n * (1 - inside) * inside ** (n - 1) <= 1 - confidence

    high = 2
    while not enough(high):
        high *= 2
    return bisect_left(range(high + 1), True, lo=high // 2, key=enough)


def percentile(
    samples: Sequence[float], share: float, confidence: float = CONFIDENCE
) -> tuple[float, float, float] | None:
    """Return a percentile and its interval by order statistics, or None without support.

    The interval's ends are samples themselves (David and Nagaraja, "Order Statistics", 7.1).
    `samples_needed` says how many samples a percentile needs. A median of fewer than six has the
    smallest and the largest sample as ends, which then hold it with less than 95 % confidence.

    Args:
        samples: In any order.
        share: Such as 0.95.
        confidence: Of the interval, two-sided.
    """
    ordered = sorted(samples)
    n = len(ordered)
    if n == 0 or n < samples_needed(share):
        return None
    tail = (1 - confidence) / 2
    value = ordered[max(0, min(n - 1, math.ceil(share * n) - 1))]
    low = _order_statistic(n, share, tail)
    high = n - 1 - _order_statistic(n, 1 - share, tail)
    return value, min(ordered[low], value), max(ordered[high], value)


def _order_statistic(n: int, share: float, tail: float) -> int:
    """Return the largest index whose sample lies above the percentile with at most `tail`."""
    odds = math.log(share) - math.log1p(-share)
    log = n * math.log1p(-share)  # of the binomial probability of k = 0
    cumulative, index = 0.0, -1
    for k in range(n):
        cumulative += math.exp(log)
        if cumulative > tail:
            break
        index = k
        log += math.log((n - k) / (k + 1)) + odds
    return max(0, index)


def too_few(share: float, n: int) -> str:
    """Return why so few samples carry no such percentile."""
    needed = samples_needed(share)
    rest = f"{'largest' if share > 0.5 else 'smallest'} {100 * min(share, 1 - share):.3g} %"
    return (
        f"too few samples: {n} of the {needed} that the {100 * share:.4g}th percentile needs, so "
        f"that with 99 % confidence two or more are among the {rest} of all there could be"
    )
