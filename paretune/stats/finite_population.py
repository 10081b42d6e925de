"""What a share of right answers will be on all examples, after only some of them were measured.

Examples are drawn without replacement, in one random order that is the same for every model. For
the number of right ones among all, the ratio of a prior to the posterior is a martingale; the
numbers that it does not rule out bound the final count, at every step at once (Waudby-Smith and
Ramdas, "Confidence sequences for sampling without replacement", 2020).

The first examples may be hard ones, for every model alike. So they are counted in two parts: those
that a reference model, which has answered all, got right, and those that it got wrong (McNemar's
idea of paired answers). A model that is much like its reference is known after a few examples.
"""

from __future__ import annotations

import math
from functools import lru_cache

from paretune.core.measurement import Measurement

ALPHA = 0.01
"""Probability that the bounds of one model ever miss what all its examples give."""


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_beta_binomial(k: int, n: int, a: float, b: float) -> float:
    choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return choose + _log_beta(k + a, n - k + b) - _log_beta(a, b)


@lru_cache(maxsize=65536)
def count_bounds(total: int, seen: int, right: int, alpha: float) -> tuple[int, int]:
    """Return bounds of how many of all are right.

    Args:
        total: All examples.
        seen: Those measured.
        right: The right ones among them.
        alpha: Probability that the bounds ever miss.
    """
    if not 0 <= right <= seen <= total:
        raise ValueError(f"{right} right of {seen} of {total}")
    left = total - seen
    # The prior is uniform over 0..total; what was seen gives the posterior of what is left.
    prior, limit = -math.log(total + 1), -math.log(alpha)
    possible = [
        right + k
        for k in range(left + 1)
        if prior - _log_beta_binomial(k, left, 1 + right, 1 + seen - right) < limit
    ]
    return possible[0], possible[-1]


def final_bounds(
    measured: Measurement, reference: Measurement, alpha: float = ALPHA
) -> tuple[float, float] | None:
    """Return bounds of a share on all examples.

    Args:
        measured: On some examples; ``details.rows`` says which, `samples` whether each is right.
        reference: Another model's on all of them.
        alpha: Probability that the bounds ever miss, at any step.

    Returns:
        Low and high; None where the two cannot be paired.
    """
    rows, all_rows = measured.details.rows, reference.details.rows
    if rows is None or all_rows is None or not all_rows:
        return None
    if not (_is_share(measured) and _is_share(reference)):
        return None
    known = dict(zip(all_rows, reference.samples, strict=True))
    if len(rows) != len(measured.samples) or any(row not in known for row in rows):
        return None
    low = high = 0
    for answer in (0.0, 1.0):
        total = sum(value == answer for value in known.values())
        answers = [
            value for row, value in zip(rows, measured.samples, strict=True) if known[row] == answer
        ]
        part = count_bounds(total, len(answers), int(sum(answers)), alpha / 2)
        low, high = low + part[0], high + part[1]
    return low / len(known), high / len(known)


def _is_share(measured: Measurement) -> bool:
    """Return whether a value is the share of samples that are 1, and all others are 0.

    Other metrics have a sample for each row as well: differences, similarities, errors.
    """
    samples = measured.samples
    if measured.unit != "fraction" or measured.value is None or not samples:
        return False
    right = sum(value == 1 for value in samples)
    others = sum(value == 0 for value in samples)
    return right + others == len(samples) and math.isclose(measured.value, right / len(samples))
