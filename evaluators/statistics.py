"""Intervals and percentiles: how sure a number is, and whether there is one at all."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

CONFIDENCE = 0.95
_RESAMPLES = 2000


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


def bootstrap_median(
    samples: Sequence[float], confidence: float = CONFIDENCE, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the median (Efron, 1979).

    Args:
        samples: At least one.
        confidence: Two-sided.
        seed: Makes it repeatable.
    """
    import numpy as np

    values = np.asarray(samples, dtype=float)
    drawn = np.random.default_rng(seed).integers(0, len(values), (_RESAMPLES, len(values)))
    return _ends(np.median(values[drawn], axis=1), confidence)


def bootstrap_mean(
    samples: Sequence[float], confidence: float = CONFIDENCE, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean."""
    import numpy as np

    values = np.asarray(samples, dtype=float)
    drawn = np.random.default_rng(seed).integers(0, len(values), (_RESAMPLES, len(values)))
    return _ends(values[drawn].mean(axis=1), confidence)


def paired_bootstrap_difference(
    a: Sequence[float], b: Sequence[float], confidence: float = CONFIDENCE, seed: int = 0
) -> tuple[float, float, float]:
    """Return the mean of ``a - b`` over the same examples, and its bootstrap interval.

    Args:
        a: One value an example.
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


def _ends(values: object, confidence: float) -> tuple[float, float]:
    import numpy as np

    tail = (1 - confidence) / 2
    low, high = np.quantile(np.asarray(values), (tail, 1 - tail))
    return float(low), float(high)


def percentile(
    samples: Sequence[float], share: float, confidence: float = CONFIDENCE
) -> tuple[float, float, float] | None:
    """Return a percentile and its interval by order statistics, or None without support.

    The interval's ends are samples themselves (David and Nagaraja, "Order Statistics", 7.1); where
    the sample is too small for an upper end to exist at this confidence, there is no percentile:
    p95 needs 59 samples at 95 %.

    Args:
        samples: In any order.
        share: Such as 0.95.
        confidence: Of each end's side, two-sided for shares up to one half.
    """
    ordered = sorted(samples)
    n = len(ordered)
    if n == 0:
        return None
    if share > 0.5 and share**n > 1 - confidence:
        return None
    tail = (1 - confidence) / 2 if share <= 0.5 else 1 - confidence
    value = ordered[min(n - 1, math.ceil(share * n) - 1)]
    low = _order_statistic(n, share, tail)
    high = n - 1 - _order_statistic(n, 1 - share, tail)
    return value, min(ordered[low], value), max(ordered[high], value)


def _order_statistic(n: int, share: float, tail: float) -> int:
    """Return the largest index whose sample lies above the percentile with at most `tail`."""
    cumulative, index = 0.0, -1
    for k in range(n):
        log = (
            math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
            + k * math.log(share) + (n - k) * math.log1p(-share)
        )  # fmt: skip
        cumulative += math.exp(log)
        if cumulative > tail:
            break
        index = k
    return max(0, index)
