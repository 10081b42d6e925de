"""How much better than its parent a build may be: what an early stop by the parent rests on.

Let ``P`` be the metric of a trained model in full precision (the parent) on all examples, and ``B``
that of a build of it. A build cannot meet a limit ``B >= L`` if the upper bound of ``P`` and the
largest credible gain ``B - P`` together are below ``L``. Two errors are possible, and each has half
of what an early stop is allowed (`paretune.stats.finite_population.ALPHA`):

- The bound of ``P`` misses at some step of the measurement: `BOUND_ALPHA`, without an assumption
  about the model or the examples but their random order.
- The build gains more than `largest_gain`: `GAIN_ALPHA`, if the differences of the builds of a
  study are draws from one normal distribution whose mean and variance follow the prior below.

The prior is conjugate (normal, inverse gamma): before any pair was seen, the mean difference is
zero, give or take the standard deviation of one difference (it is worth `_MEAN_WORTH` pair), and
the variance is worth `_VARIANCE_WORTH` pairs. The bound on the next difference is then a quantile
of Student's t, and with no pair it is `DEFAULT_GAIN`. The gain is never below zero: that builds
always lose something stops no candidate whose parent meets the limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from paretune.core.measurement import Measurement
from paretune.core.parent import BuildCost
from paretune.stats.by_example import scores
from paretune.stats.finite_population import ALPHA, final_bounds
from paretune.stats.intervals import student_t_above
from paretune.stats.window_bounds import perplexity_bounds

if TYPE_CHECKING:
    import numpy as np

BOUND_ALPHA = GAIN_ALPHA = ALPHA / 2
"""Probability of each of the two errors of one stop."""
DEFAULT_GAIN = 0.1
"""What a build may gain before any pair was seen: ten percentage points of a share, and of a
perplexity a tenth (as a logarithm)."""
_VARIANCE_WORTH = 4
_MEAN_WORTH = 1
_NORMAL = 1.960


def parent_bounds(
    measured: Measurement, reference: Measurement | None
) -> tuple[float, float] | None:
    """Return between which values a parent's metric is on all examples.

    Args:
        measured: On some of them (``details.early``), or on all.
        reference: The baseline's, on all; None: there is none.

    Returns:
        Low and high, valid at every step; None where nothing bounds it yet.
    """
    if measured.value is None:
        return None
    if not measured.details.early:
        return measured.value, measured.value
    if measured.details.final is not None or reference is None:
        return measured.details.final
    return final_bounds(measured, reference, BOUND_ALPHA) or perplexity_bounds(
        measured, reference, BOUND_ALPHA
    )


def is_ratio(measured: Measurement) -> bool | None:
    """Return whether gains of a metric are logarithms of ratios; None: it has no scale of gains."""
    if measured.metric == "perplexity":
        return True
    return False if measured.unit == "fraction" else None


def largest_gain(gains: Sequence[float], alpha: float = GAIN_ALPHA) -> float:
    """Return what the next build gains at most, but for a probability.

    Args:
        gains: Of earlier builds over their parents: differences of shares, or logarithms.
        alpha: Probability that the next one gains more.
    """
    count = len(gains)
    mean = sum(gains) / count if count else 0.0
    worth, freedom = _MEAN_WORTH + count, _VARIANCE_WORTH + count
    centre = count * mean / worth
    squares = _VARIANCE_WORTH * _prior_scale(alpha) ** 2
    squares += sum((gain - mean) ** 2 for gain in gains)
    squares += _MEAN_WORTH * count * mean**2 / worth
    width = student_t_above(freedom, alpha) * math.sqrt(squares / freedom * (1 + 1 / worth))
    return max(0.0, centre + width)


def _prior_scale(alpha: float) -> float:
    """Return the standard deviation of one difference for which no pair gives the default."""
    return DEFAULT_GAIN / (student_t_above(_VARIANCE_WORTH, alpha) * math.sqrt(1 + 1 / _MEAN_WORTH))


def with_gain(value: float, gain: float, *, ratio: bool, maximize: bool) -> float:
    """Return a metric that is better by a gain.

    Args:
        value: The metric.
        gain: What `largest_gain` returns.
        ratio: Whether gains are logarithms of ratios (`is_ratio`).
        maximize: Whether more is better.
    """
    signed = gain if maximize else -gain
    return value * math.exp(signed) if ratio else value + signed


def build_cost(build: Measurement | None, parent: Measurement | None) -> BuildCost | None:
    """Return by how much a build differs from its parent, on the examples of the parent.

    Args:
        build: Measured on all examples.
        parent: Measured on some of them, or on all.

    Returns:
        None where one has no value, or they cannot be paired.
    """
    if build is None or parent is None or build.value is None or parent.value is None:
        return None
    same = _on_the_examples_of(parent, build)
    if same is None or same.value is None:
        return None
    low = high = None
    ours, theirs = scores(same), scores(parent)
    if ours is not None and theirs is not None and ours.rows == theirs.rows:
        low, high = _interval(ours.values - theirs.values)
    return BuildCost(same.value - parent.value, low, high, parent.n, _change(same, parent))


def _change(build: Measurement, parent: Measurement) -> float | None:
    ratio = is_ratio(parent)
    assert build.value is not None
    assert parent.value is not None
    if ratio is None:
        return None
    if not ratio:
        return build.value - parent.value
    return math.log(build.value / parent.value) if min(build.value, parent.value) > 0 else None


def _interval(
    differences: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> tuple[float, float]:
    n = len(differences)
    half = _NORMAL * float(differences.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    mean = float(differences.mean())
    return mean - half, mean + half


def _on_the_examples_of(parent: Measurement, build: Measurement) -> Measurement | None:
    """Return a build's metric on those examples that the parent was measured on."""
    if not parent.details.early:
        return build
    if parent.details.rows is not None and build.details.rows is not None:
        by_row = dict(zip(build.details.rows, build.samples, strict=False))
        rows = parent.details.rows
        if not rows or any(row not in by_row for row in rows):
            return None
        samples = tuple(by_row[row] for row in rows)
        details = replace(build.details, rows=rows)
        value = sum(samples) / len(samples)
        return replace(build, value=value, samples=samples, n=len(samples), details=details)
    windows, tokens = parent.details.windows_seen, parent.details.tokens_scored
    known = build.details.windows_seen
    if windows is None or tokens is None or known is None:
        return None
    by_window = dict(zip(known, build.samples, strict=False))
    if not windows or any(window not in by_window for window in windows):
        return None
    samples = tuple(by_window[window] for window in windows)
    mean = sum(s * t for s, t in zip(samples, tokens, strict=True)) / sum(tokens)
    details = replace(build.details, windows_seen=windows, tokens_scored=tokens)
    return replace(build, value=math.exp(min(mean, 700.0)), samples=samples, details=details)
