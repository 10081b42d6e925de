"""What else is to be known of a measured value: number of samples, outliers, drift, throttling."""

from __future__ import annotations

from collections.abc import Sequence

from paretune.core.energy import EnergyUse
from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement
from paretune.core.result import TrialResult
from paretune.search.summary import StudySummary
from paretune.stats.pooling import PROTOCOL


def measurement_entry(m: Measurement) -> dict[str, Json]:
    """Return a metric's entry in ``results.json``, with its notes if there are any.

    An interval with one end only, which a plug-in may give, is none.
    """
    found = m.summary()
    if m.low is None or m.high is None:
        found |= {"low": None, "high": None}
    told = remarks(m)
    return {**found, "remarks": told} if told else found


def remarks(m: Measurement) -> list[str]:
    """Return short sentences about how a metric was measured; none if there is nothing to say.

    Args:
        m: The metric, of one process or of several.
    """
    if m.taken_over:
        return [f"taken over from candidate {m.details.taken_from}, a build of the same structure"]
    if m.protocol != PROTOCOL:
        return _throttled(m)
    use = m.details.part(EnergyUse)
    energy = [] if use is None else [str(use)]
    return [*energy, *_counted(m), *_outliers(m), *_drift(m), *_throttled(m)]


def unsettled_notes(outcomes: Sequence[TrialResult], summary: StudySummary) -> list[str]:
    """Return sentences on candidates that might be chosen, had they measured all of it themselves.

    Args:
        outcomes: Of the study.
        summary: Of the same.
    """
    known = {outcome.id: outcome for outcome in outcomes}
    told = []
    for id in summary.unsettled:
        measured = (known[id].measurements or {}).items()
        taken = [
            f"{name} of candidate {m.details.taken_from}" for name, m in measured if m.taken_over
        ]
        told.append(
            f"candidate {id} may be on the Pareto front, but it took over {', '.join(taken)}, "
            "which was not measured on it. The pick is chosen among candidates that were measured "
            "themselves; the search, continued with these constraints and enough time, measures it"
        )
    return told


def _counted(m: Measurement) -> list[str]:
    processes = m.details.processes
    if not processes:
        return []
    rounds = sum(process.round is not None for process in processes)
    interleave = f", {rounds} of them as a finalist" if rounds else ""
    count = "1 process" if len(processes) == 1 else f"{len(processes)} processes"
    return [f"{m.n:,} samples of {count}{interleave}" if m.sample_count else f"{count}{interleave}"]


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


def _throttled(m: Measurement) -> list[str]:
    """Return that the device was throttled; of several processes, `reason` has it."""
    conditions = m.details.conditions
    if conditions is None or not conditions.throttled or m.details.processes is not None:
        return []
    return [f"measured while the device was throttled ({', '.join(conditions.throttled)})"]
