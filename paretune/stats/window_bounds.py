"""What a perplexity will at least be on all windows, after only some of them were measured.

Windows are drawn without replacement in a fixed random order. A window's negative log-likelihood
has no upper bound, so that nothing bounds a perplexity from above; but it is never negative, and
that is enough for a bound from below. The claim that the sum over all windows is at most `M`
fixes the average of the windows that are left. A bet against the claim, won each time that the
next window is higher, makes a fortune that exceeds ``1 / alpha`` with probability at most
``alpha`` if the claim is true (Waudby-Smith and Ramdas, "Estimating means of bounded random
variables by betting", 2024, without replacement). What is bet on is the difference from the
reference's own number on the same window: hard windows are hard for every model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from paretune.core.measurement import Measurement

ALPHA = 0.01
"""Probability that the bound of one model ever misses what all its windows give."""
_STAKES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
"""Shares of the largest stake that cannot lose everything; the fortune is split among them."""
_HALVINGS = 60
_MAX_LOG = 700.0


def perplexity_bounds(
    measured: Measurement, reference: Measurement, alpha: float = ALPHA
) -> tuple[float, float] | None:
    """Return bounds of a perplexity on all windows; the upper one is infinite.

    Args:
        measured: On some windows, in the order of `samples` (a mean for each).
        reference: Another model's, on all of them.
        alpha: Probability that the bounds ever miss, at any step.

    Returns:
        Low and high; None where the two cannot be paired.
    """
    mine, base = _sums(measured), _sums(reference)
    if not mine or not base or any(window not in base for window in mine):
        return None
    tokens = sum(base_tokens for _, base_tokens in base.values())
    if len(mine) == len(base):
        whole = _exp(sum(total for total, _ in mine.values()) / tokens)
        return whole, whole
    order = measured.details.order or tuple(mine)
    pairs = [(mine[window][0], base[window][0]) for window in order]
    left = [base[window][0] for window in base if window not in mine]
    least = least_total(pairs, left, alpha)
    return _exp(least / tokens), math.inf


def _exp(mean: float) -> float:
    return math.exp(min(mean, _MAX_LOG))


def least_total(pairs: Sequence[tuple[float, float]], left: Sequence[float], alpha: float) -> float:
    """Return a lower bound of a sum of numbers that are not negative.

    Args:
        pairs: A number that was seen and the reference's, in the order of measurement.
        left: The reference's numbers for what was not measured.
        alpha: Probability that the bound misses.
    """
    seen, reference = sum(x for x, _ in pairs), sum(y for _, y in pairs) + sum(left)
    # What is left is not negative: no total below what was seen.
    low, high = seen, max(seen, reference) * 2 + seen + 1.0
    if _log_fortune(low, pairs, left, reference) < -math.log(alpha):
        return low
    while _log_fortune(high, pairs, left, reference) >= -math.log(alpha):
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _log_fortune(middle, pairs, left, reference) >= -math.log(alpha):
            low = middle
        else:
            high = middle
    return low


def _log_fortune(
    total: float, pairs: Sequence[tuple[float, float]], left: Sequence[float], reference: float
) -> float:
    """Return the logarithm of what betting against a total makes of one unit."""
    remaining = [y for _, y in pairs] + list(left)
    difference, fortunes = total - reference, [0.0] * len(_STAKES)
    for place, (x, y) in enumerate(pairs):
        claimed = difference / (len(remaining) - place)
        largest = max(remaining[place:])  # no difference is below the negative of this
        room = claimed + largest
        if room <= 0:
            return math.inf  # what is left cannot come to so little
        gain = (x - y - claimed) / room
        fortunes = [f + math.log1p(s * gain) for f, s in zip(fortunes, _STAKES, strict=True)]
        difference -= x - y
    most = max(fortunes)
    return most + math.log(sum(math.exp(f - most) for f in fortunes) / len(fortunes))


def _sums(measured: Measurement) -> dict[int, tuple[float, int]]:
    """Return each window's summed negative log-likelihood and its tokens, in the order of data."""
    windows, tokens = measured.details.windows_seen, measured.details.tokens_scored
    if windows is None or tokens is None or len(windows) != len(measured.samples):
        return {}
    return {
        window: (mean * count, count)
        for window, mean, count in zip(windows, measured.samples, tokens, strict=True)
    }
