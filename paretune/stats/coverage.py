"""Whether intervals hold as many values as they should."""

from __future__ import annotations

import math


def chance_of_so_few(inside: int, n: int, share: float = 0.95) -> float:
    """Return how probable it is that so few values lie inside, if the intervals are right.

    Args:
        inside: Values inside their intervals.
        n: Values.
        share: How many should be inside on average, between 0 and 1.

    Returns:
        The probability of at most `inside` successes in `n` independent trials.
    """
    yes, no = math.log(share), math.log1p(-share)
    return min(
        1.0,
        math.fsum(
            math.exp(
                math.lgamma(n + 1)
                - math.lgamma(k + 1)
                - math.lgamma(n - k + 1)
                + k * yes
                + (n - k) * no
            )
            for k in range(inside + 1)
        ),
    )
