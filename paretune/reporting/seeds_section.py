"""The report's table of the pick with other training seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from paretune.core.result import OutcomeKind
from paretune.study.results import Results
from paretune.study.results_part import MetricValue
from paretune.study.results_repeats import RepeatsEntry


@dataclass(frozen=True)
class SeedRow:
    """The recipe with some seeds.

    Attributes:
        seeds: Of its trainings.
        own: Whether it is the pick itself.
        values: Its metrics.
        note: How it ended, or who would be chosen by its values; empty: neither is worth a note.
        seconds: What it took; None: it is the pick.
    """

    seeds: str
    own: bool
    values: Mapping[str, MetricValue]
    note: str
    seconds: float | None


@dataclass(frozen=True)
class SeedsSection:
    """The table.

    Attributes:
        metrics: Those that the repeats measured themselves, then those that they took over.
        rows: The pick first.
    """

    metrics: tuple[str, ...]
    rows: tuple[SeedRow, ...]


def seeds_section(results: Results) -> SeedsSection | None:
    """Return what the report shows of the repeats; None: there are none."""
    repeats = results.repeats
    if repeats is None or not repeats.runs:
        return None
    measured = dict.fromkeys(name for run in repeats.runs for name in run.metrics)
    metrics = tuple(dict.fromkeys([*repeats.spread, *measured]))
    return SeedsSection(metrics, tuple(seed_rows(results, repeats)))


def seed_rows(results: Results, repeats: RepeatsEntry) -> list[SeedRow]:
    """Return the pick and its repeats as rows of a table.

    Args:
        results: The results document.
        repeats: Its repeats.
    """
    pick = next(c for c in results.candidates if c.id == repeats.id)
    rows = [SeedRow(_words(repeats.seeds), True, pick.metrics, "", None)]
    for run in repeats.runs:
        note = ""
        if run.outcome is not OutcomeKind.OK:
            note = f"{run.outcome}: {run.reason}"
        elif run.best != repeats.id:
            note = "by its values, " + (
                "no candidate meets every constraint"
                if run.best is None
                else f"candidate {run.best} would be chosen"
            )
        rows.append(SeedRow(_words(run.seeds), False, run.metrics, note, run.seconds))
    return rows


def _words(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds))
