"""A study as CSV: one row per candidate, for spreadsheets and data frames."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from paretune.core.jsontools import Json, canonical
from paretune.study.results import CandidateEntry

# The last four: full-width forms, which spreadsheets read as the signs.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


def write_csv(candidates: Sequence[CandidateEntry], out: Path) -> None:
    """Write one row per candidate; parameters are columns such as ``lora.r``.

    A metric has three columns: its value, and the ends of its 95 % interval. A fourth one names
    the candidate that measured it, if candidates took it over.

    Args:
        candidates: Those of the results document.
        out: The file.
    """
    rows = [_row(candidate) for candidate in candidates]
    head = list(dict.fromkeys(column for row in rows for column in row))
    with open(out, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        # Names too: parameters and metrics are named by whoever wrote the pass or the evaluator.
        writer.writerow(map(_cell, head))
        writer.writerows([_cell(row.get(column, "")) for column in head] for row in rows)


def _row(candidate: CandidateEntry) -> dict[str, Json]:
    row: dict[str, Json] = {
        "id": candidate.id,
        "outcome": candidate.outcome,
        "feasible": candidate.feasible,
        "pareto": candidate.pareto,
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
    for name, m in candidate.metrics.items():
        row[name], row[f"{name}.low"], row[f"{name}.high"] = m.value, m.low, m.high
        if m.taken_from is not None:
            row[f"{name}.taken_from"] = m.taken_from
    row["seconds"] = round(candidate.spent, 3)
    row["reason"] = candidate.reason
    return row


def _cell(value: Json) -> Json:
    """Return a cell that a spreadsheet reads as text and never as a formula."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value
