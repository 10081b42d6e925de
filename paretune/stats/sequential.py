"""Comparing while measuring: bounds that hold at every step, and the verdict they give.

No distribution is assumed. If ``x`` is the median of what is observed, then whether an observation
lies above or below ``x`` is a fair coin. A bettor who does not know which way the coin is
loaded (a Beta(1/2, 1/2) mixture of bets, Krichevsky and Trofimov 1981) holds a fortune that is a
martingale, and that exceeds ``1 / alpha`` at any time at all with probability at most ``alpha``
(Ville 1939). The values of ``x`` against which no such fortune was made are a confidence sequence
for the median (Howard and Ramdas, "Sequential estimation of quantiles", 2022).
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

JOINT_CONFIDENCE = 0.99
"""With which all verdicts of one comparison hold together."""
MARGIN = 0.02
"""Share up to which two speeds count as the same."""


class Verdict(StrEnum):
    """What is known of the first of two, compared with the second."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    UNDECIDED = "undecided"


def log_fortune(above: int, below: int) -> float:
    """Return the logarithm of what the mixture of bets makes of one unit.

    Args:
        above: Observations above the supposed median.
        below: Those below it.
    """
    n = above + below
    return (
        n * math.log(2)
        + math.lgamma(above + 0.5)
        + math.lgamma(below + 0.5)
        - math.lgamma(n + 1)
        - math.log(math.pi)
    )


@lru_cache(maxsize=65536)
def left_out(n: int, alpha: float) -> int:
    """Return how many observations may lie outside of the bounds on each side; -1: no bound yet.

    The bounds are the next observations inwards.

    Args:
        n: Number of observations.
        alpha: Probability that the bounds ever miss the median.
    """
    most = -1
    while 2 * (most + 1) < n and log_fortune(most + 1, n - most - 1) >= -math.log(alpha):
        most += 1
    return most


@dataclass
class MedianSequence:
    """A confidence sequence for the median of what is observed one by one.

    Attributes:
        alpha: Probability that it ever misses the median.
        low: Lower bound so far; never falls.
        high: Upper bound so far; never rises.
    """

    alpha: float
    low: float = -math.inf
    high: float = math.inf
    _ordered: list[float] = field(default_factory=list)

    def add(self, observation: float) -> None:
        """Take one more observation into account.

        Raises:
            ValueError: It is NaN.
        """
        if math.isnan(observation):
            raise ValueError("NaN cannot be ordered")
        bisect.insort(self._ordered, observation)
        outside = left_out(len(self._ordered), self.alpha)
        if outside >= 0:
            self.low = max(self.low, self._ordered[outside])
            self.high = min(self.high, self._ordered[-1 - outside])

    @property
    def n(self) -> int:
        """Number of observations."""
        return len(self._ordered)

    @property
    def broken(self) -> bool:
        """True if no median fits all that was seen: it changed while it was observed."""
        return self.low > self.high

    @property
    def median(self) -> float | None:
        """The median of what was observed; None before the first."""
        if not self._ordered:
            return None
        middle = self.n // 2
        if self.n % 2:
            return self._ordered[middle]
        return (self._ordered[middle - 1] + self._ordered[middle]) / 2


def speed_verdict(sequence: MedianSequence, margin: float = MARGIN) -> Verdict:
    """Return what is known of two speeds.

    Args:
        sequence: Of the logarithm of (the first's time / the second's time), round by round.
        margin: Share up to which a difference does not count.

    Returns:
        ``same`` if the whole confidence interval of the difference is within the margin, ``faster``
        or ``slower`` if it is all on one side of zero, else ``undecided``.
    """
    if sequence.broken:
        return Verdict.UNDECIDED
    within = math.log1p(margin)
    if -within <= sequence.low and sequence.high <= within:
        return Verdict.SAME
    if sequence.high < 0:
        return Verdict.FASTER
    if sequence.low > 0:
        return Verdict.SLOWER
    return Verdict.UNDECIDED


def least_rounds(alpha: float) -> int:
    """Return the number of observations below which there are no bounds."""
    n = 1
    while left_out(n, alpha) < 0:
        n += 1
    return n
