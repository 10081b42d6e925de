"""Compares the devices of a study: what each one's pick reaches on the others, and its cost there.

A pick is a model with settings. On another device it is the same candidate, if that was measured
completely there, else the best candidate of the same recipe: the settings can be chosen for each
device, the model cannot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paretune.core.jsontools import Json
from paretune.stats.intervals import difference_interval
from paretune.study.results import CandidateEntry, ObjectiveEntry, Results
from paretune.study.results_part import MetricValue


def across(devices: Mapping[str, Results]) -> dict[str, Json]:
    """Return ``picks`` and ``one_for_all`` of a results document.

    Args:
        devices: What each device found, by name; the main one first.
    """
    objectives = next(iter(devices.values())).objectives
    prefer = next(iter(devices.values())).prefer
    ordered = sorted(objectives, key=lambda objective: objective.metric != prefer)
    own = {name: _with_id(results, results.best) for name, results in devices.items()}
    picks: list[dict[str, Json]] = []
    for name, pick in own.items():
        if pick is not None:
            on = {
                other: _on_device(pick, results, own[other], ordered)
                for other, results in devices.items()
            }
            picks.append({"of": name, "id": pick.id, "on": on})
    return {"picks": picks, "one_for_all": _one_for_all(picks, own)}


def _with_id(results: Results, id: int | None) -> CandidateEntry | None:
    return next((row for row in results.candidates if row.id == id), None)


def _on_device(
    pick: CandidateEntry,
    results: Results,
    own: CandidateEntry | None,
    objectives: Sequence[ObjectiveEntry],
) -> dict[str, Json]:
    """Return what a pick reaches on a device, whose own pick is `own`."""
    same = _with_id(results, pick.id)
    if same is not None and same.duplicate_of is not None:
        same = _with_id(results, same.duplicate_of)
    found = same if same is not None and same.outcome == "ok" else None
    if found is None:
        recipe = [step.to_json() for step in pick.recipe]
        alike = [
            row
            for row in results.candidates
            if row.outcome == "ok" and [step.to_json() for step in row.recipe] == recipe
        ]
        found = min(alike, key=lambda row: _rank(row, objectives), default=None)
    if found is None:
        why = "it was not tried there"
        if same is not None:
            why = same.outcome if same.reason is None else f"{same.outcome}: {same.reason}"
        return {"id": None, "reason": why}
    values = {objective.metric: _reached(found, own, objective) for objective in objectives}
    return {"id": found.id, "feasible": found.feasible, "values": values}


def _rank(row: CandidateEntry, objectives: Sequence[ObjectiveEntry]) -> tuple[float, ...]:
    signs = {"minimize": 1.0, "maximize": -1.0}
    values = [row.value(objective.metric) for objective in objectives]
    return (
        float(not row.feasible),
        *(
            float("inf") if value is None else signs[objective.direction] * value
            for objective, value in zip(objectives, values, strict=True)
        ),
    )


def _reached(
    found: CandidateEntry, own: CandidateEntry | None, objective: ObjectiveEntry
) -> dict[str, Json]:
    metric = objective.metric
    value, best = found.value(metric), None if own is None else own.value(metric)
    reached: dict[str, Json] = {"value": value, "own": best, "cost": None}
    if own is None or value is None or best is None:
        return reached
    if value == best:
        reached["cost"] = 0.0
    if best:
        unit = abs(best) if objective.direction == "minimize" else -abs(best)
        if value != best:
            reached["cost"] = (value - best) / unit
        there, here = _bounds(found.metrics[metric]), _bounds(own.metrics[metric])
        if found.id != own.id and there is not None and here is not None:
            ends = (end / unit for end in difference_interval(there, here))
            reached["cost_low"], reached["cost_high"] = sorted(ends)
    return reached


def _bounds(metric: MetricValue) -> tuple[float, float, float] | None:
    """Return a value with the ends of its interval; None: it has none."""
    if metric.value is None or metric.low is None or metric.high is None:
        return None
    return metric.value, metric.low, metric.high


def _one_for_all(
    picks: Sequence[Mapping[str, Json]], own: Mapping[str, CandidateEntry | None]
) -> Json:
    """Return the pick with the smallest largest cost; None: none is known to serve all devices."""
    found: list[tuple[float, dict[str, Json]]] = []
    for pick in picks:
        if any(each["id"] is None or not each["feasible"] for each in pick["on"].values()):
            continue
        costs = [
            (value["cost"], metric, device)
            for device, each in pick["on"].items()
            for metric, value in each["values"].items()
            if own[device] is not None
        ]
        if any(cost is None for cost, _, _ in costs) or not costs:
            continue
        worst, metric, device = max(costs)
        entry: dict[str, Json] = {"of": pick["of"], "id": pick["id"], "worst": max(0.0, worst)}
        if worst > 0:
            entry |= {"metric": metric, "device": device}
        found.append((entry["worst"], entry))
    return min(found, key=lambda each: each[0])[1] if found else None
