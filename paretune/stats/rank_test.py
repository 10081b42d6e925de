"""Mann and Whitney's rank test: do two sets of samples differ by more than chance?"""

from __future__ import annotations

import math
from collections.abc import Sequence

_EXACT_UP_TO = 20
"""Sets of so many samples are compared by the exact distribution; larger ones by its limit."""


def mann_whitney(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the two-sided p-value of Mann and Whitney's rank test (1947).

    Exact for small samples without ties, else by the normal limit, corrected for ties and
    continuity.

    Args:
        a: At least one sample.
        b: At least one sample.
    """
    m, n = len(a), len(b)
    ordered = sorted([*((value, 0) for value in a), *((value, 1) for value in b)])
    ranks, ties, start = 0.0, 0.0, 0
    for end in range(1, m + n + 1):
        if end == m + n or ordered[end][0] != ordered[start][0]:
            size = end - start
            in_a = sum(1 for _, side in ordered[start:end] if side == 0)
            ranks += in_a * (start + end + 1) / 2  # the mean of the ranks start + 1 to end
            ties += size**3 - size
            start = end
    u = ranks - m * (m + 1) / 2
    nearer = min(u, m * n - u)
    if not ties and max(m, n) <= _EXACT_UP_TO:
        ways = _rank_sums(m, n)
        return min(1.0, 2 * sum(ways[: int(nearer) + 1]) / math.comb(m + n, m))
    variance = m * n / 12 * (m + n + 1 - ties / ((m + n) * (m + n - 1)))
    if variance <= 0:
        return 1.0
    z = (m * n / 2 - nearer - 0.5) / math.sqrt(variance)
    return 1.0 if z <= 0 else math.erfc(z / math.sqrt(2))


def _rank_sums(m: int, n: int) -> list[int]:
    """Return in how many orders of m and n samples U is 0, 1, 2, ... (a Gaussian binomial)."""
    ways = [1] + [0] * (m * n)
    for i in range(1, m + 1):
        for u in range(m * n, n + i - 1, -1):  # times 1 - q^(n+i)
            ways[u] -= ways[u - n - i]
        for u in range(i, m * n + 1):  # divided by 1 - q^i
            ways[u] += ways[u - i]
    return ways
