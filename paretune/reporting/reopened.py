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
    base = None if results.baseline is None else results.baseline.id
    paired = comparison(outcomes, results.best, base)
    write_views(study, results, {"paired": paired})
    return study / "report.html"
