"""A percentile of several processes' samples, with an interval that knows of processes.

The samples of all processes together are no sample of anything: those of one process are alike. So
each process's samples are divided by its median. What is left is the shape of the tail, of which
all samples tell together; how fast a process is, the processes tell. The value is the percentile of
the shape times the middle process's median. Its interval joins what the samples leave open of the
shape (order statistics) and by how much the processes' own percentiles differ (Student's t).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from paretune.core.details import ProcessValue, SpreadUsed
from paretune.core.measurement import Measurement
from paretune.stats.intervals import CONFIDENCE, percentile, too_few
from paretune.stats.process_spread import Spread, half_width


@dataclass(frozen=True)
class Process:
    """One process's part in a measurement.

    Attributes:
        known: What `processes_of` says of it.
        samples: Its own.
        counts: Whether it counts in the value.
    """

    known: ProcessValue
    samples: tuple[float, ...]
    counts: bool

    @property
    def level(self) -> float:
        """What its values are multiplied by."""
        return 1.0 if self.known.level is None else self.known.level


def own_needed(share: float) -> int:
    """Return how many samples the percentile of one process needs.

    With that many, the largest sample lies beyond the percentile with 95 % probability.

    For a p95 these are 59.
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(share))


def tail(
    measured: Measurement, processes: Sequence[Process], share: float, spread: Spread | None = None
) -> Measurement:
    """Return a percentile of several processes, or what they lack.

    Args:
        measured: The metric, with its name and unit.
        processes: Each with its samples.
        share: Such as 0.95.
        spread: What processes' own percentiles usually differ by in the study.
    """
    counted = [p for p in processes if p.counts and p.samples and statistics.median(p.samples) > 0]
    needed = own_needed(share)
    long = [
        replace(p.known, value=_interpolated(p.samples, share), turns=())
        for p in processes
        if len(p.samples) >= needed
    ]
    used = None if spread is None else SpreadUsed(spread.candidates)
    details = replace(measured.details, processes=tuple(long) or None, spread=used)
    medians = [statistics.median(p.samples) for p in counted]
    shape = [
        sample / median for p, median in zip(counted, medians, strict=True) for sample in p.samples
    ]
    found = percentile(shape, share)
    n = len(shape)
    if found is None:
        few = too_few(share, n)
        return replace(measured, value=None, low=None, high=None, n=n, reason=few, details=details)
    middle = statistics.median(m * p.level for m, p in zip(medians, counted, strict=True))
    value = found[0] * middle
    known = replace(measured, value=value, low=None, high=None, n=n, reason=None, details=details)
    if len(counted) == 1:  # one process: the interval of its samples
        return replace(known, low=found[1] * middle, high=found[2] * middle)
    own = [p for p in counted if len(p.samples) >= needed]
    unlevelled = [p for p in own if p.known.level is None]
    # A level is no surer than the processes that it is taken from.
    some = unlevelled if len(unlevelled) > 1 else own
    if len(some) < 2:
        return replace(known, reason=_why(share, needed))
    logs = [math.log(_interpolated(p.samples, share) * p.level) for p in some]
    half = half_width(logs, spread)
    centre = math.log(value) + statistics.fmean(logs) - statistics.median(logs)
    below, above = math.log(found[0] / found[1]), math.log(found[2] / found[0])
    return replace(
        known,
        low=min(value, math.exp(centre - math.hypot(half, below))),
        high=max(value, math.exp(centre + math.hypot(half, above))),
    )


def _interpolated(samples: Sequence[float], share: float) -> float:
    """Return a percentile between two samples, beyond which as many lie on average as should."""
    ordered = sorted(samples)
    place = min(max((len(ordered) + 1) * share - 1, 0.0), len(ordered) - 1.0)
    whole = math.floor(place)
    above = ordered[min(whole + 1, len(ordered) - 1)]
    return ordered[whole] + (place - whole) * (above - ordered[whole])


def _why(share: float, needed: int) -> str:
    return (
        f"no interval: fewer than two processes have the {needed} samples that a "
        f"{100 * share:.4g}th percentile of their own needs"
    )
