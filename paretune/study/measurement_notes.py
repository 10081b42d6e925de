"""What else is to be known of a measured value: of how many samples it is, outliers, drift."""

from __future__ import annotations

from dataclasses import replace

from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement
from paretune.stats.pooling import PROTOCOL


def measurement_entry(m: Measurement) -> dict[str, Json]:
    """Return a metric's entry in ``results.json``, with its notes if there are any.

    An interval with one end only, which a plug-in may give, is none.
    """
    if m.low is None or m.high is None:
        m = replace(m, low=None, high=None)
    told = remarks(m)
    return {**m.summary(), "remarks": told} if told else m.summary()


def remarks(m: Measurement) -> list[str]:
    """Return short sentences about how a metric was timed; none for what no clock measured.

    Args:
        m: The metric, of one process or of several.
    """
    if m.protocol != PROTOCOL:
        return []
    return [*_counted(m), *_outliers(m), *_drift(m)]


def _counted(m: Measurement) -> list[str]:
    processes = m.details.processes
    if not processes:
        return []
    rounds = sum(process.round is not None for process in processes)
    interleave = f", {rounds} of them as a finalist" if rounds else ""
    count = "1 process" if len(processes) == 1 else f"{len(processes)} processes"
    return [f"{m.n:,} samples of {count}{interleave}" if m.samples else f"{count}{interleave}"]


def _outliers(m: Measurement) -> list[str]:
    found = m.details.outliers
    if found is None or not found.count:
        return []
    word = "outlier" if found.count == 1 else "outliers"
    return [f"{found.count:,} {word} ({found.severe:,} severe), none left out"]


def _drift(m: Measurement) -> list[str]:
    drift = m.details.drift
    if drift is None or not drift.drifts or drift.relative is None:
        return []
    change = drift.relative
    return [
        f"drifted: the second half of a process took {abs(change):.1%} "
        f"{'longer' if change > 0 else 'less'} than its first"
    ]
