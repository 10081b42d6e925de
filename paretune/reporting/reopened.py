"""Writes the report of an existing study again, from the files on disk."""

from __future__ import annotations

from pathlib import Path

from paretune.reporting.opened import open_study
from paretune.reporting.outputs import comparison, write_views


def rewrite_report(study: Path | str) -> Path:
    """Write ``report.html`` and ``results.csv`` again; returns the report's path.

    Raises:
        UsageError: There is no study in that folder.
    """
    study = Path(study)
    results, outcomes = open_study(study)
    base = results["baseline"]
    paired = comparison(outcomes, results["best"], None if base is None else base["id"])
    write_views(study, results, {"paired": paired})
    return study / "report.html"
