"""A study as CSV: one row per candidate, for spreadsheets and data frames."""

from __future__ import annotations

import csv
from pathlib import Path

from paretune.core.jsontools import Json, canonical
from paretune.study.results import (
    CandidateEntry,
    DeviceCandidate,
    DeviceOutcome,
    DeviceResults,
    Results,
)
from paretune.study.results_part import MetricValue

# The last four: full-width forms, which spreadsheets read as the signs.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


def write_csv(results: Results, out: Path) -> None:
    """Write one row per candidate; parameters are columns such as ``lora.r``.

    A metric has three columns: its value, and the ends of its 95 % interval. A fourth one names
    the candidate that measured it, if candidates took it over. Of a study with several devices
    these are the first device's, and each device has columns of its own, the first one included,
    such as ``devices.board.accuracy``. A candidate that the first device has not tried has only
    those.

    Args:
        results: The results document.
        out: The file.
    """
    rows = {candidate.id: _row(candidate) for candidate in results.candidates}
    devices = results.devices if len(results.devices) > 1 else {}
    for name, device in devices.items():
        for id, outcome in device.outcomes.items():
            if int(id) not in rows and id in device.candidates:
                rows[int(id)] = {"id": int(id), **_recipe(device.candidates[id])}
            if int(id) in rows:
                rows[int(id)] |= _on_device(f"devices.{name}", device, id, outcome)
    head = list(dict.fromkeys(column for row in rows.values() for column in row))
    head.sort(key=lambda column: column.startswith("devices."))  # those of all devices come last
    with open(out, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        # Names too: parameters and metrics are named by whoever wrote the pass or the evaluator.
        writer.writerow(map(_cell, head))
        for _, row in sorted(rows.items()):
            writer.writerow([_cell(row.get(column, "")) for column in head])


def _row(candidate: CandidateEntry) -> dict[str, Json]:
    row: dict[str, Json] = {
        "id": candidate.id,
        "outcome": candidate.outcome,
        "feasible": candidate.feasible,
        "pareto": candidate.pareto,
        **_recipe(candidate),
    }
    for name, measured in candidate.metrics.items():
        row |= _metric(name, measured)
    row["seconds"] = round(candidate.spent, 3)
    row["reason"] = candidate.reason
    return row


def _recipe(candidate: CandidateEntry | DeviceCandidate) -> dict[str, Json]:
    row: dict[str, Json] = {
        "passes": " > ".join(step.name for step in candidate.recipe),
        "provider": candidate.runtime.provider,
        "threads": candidate.runtime.threads,
        "runtime": candidate.runtime.name,
        **{f"runtime.{name}": value for name, value in candidate.runtime.settings.options},
    }
    for step in candidate.recipe:
        for name, value in step.params.items():
            plain = value is None or isinstance(value, (str, int, float))
            row[f"{step.name}.{name}"] = value if plain else canonical(value)
    return row


def _metric(name: str, measured: MetricValue) -> dict[str, Json]:
    row: dict[str, Json] = {
        name: measured.value,
        f"{name}.low": measured.low,
        f"{name}.high": measured.high,
    }
    if measured.taken_from is not None:
        row[f"{name}.taken_from"] = measured.taken_from
    return row


def _on_device(
    prefix: str, device: DeviceResults, id: str, outcome: DeviceOutcome
) -> dict[str, Json]:
    row: dict[str, Json] = {
        f"{prefix}.outcome": outcome.outcome,
        f"{prefix}.feasible": outcome.feasible,
        f"{prefix}.pareto": int(id) in device.pareto,
    }
    for name, measured in device.metrics.get(id, {}).items():
        row |= _metric(f"{prefix}.{name}", measured)
    row[f"{prefix}.reason"] = outcome.reason
    return row


def _cell(value: Json) -> Json:
    """Return a cell that a spreadsheet reads as text and never as a formula."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value
