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
        metrics: In the order of the columns (`metrics_of`).
        rows: The pick first.
    """

    metrics: tuple[str, ...]
    rows: tuple[SeedRow, ...]


def seeds_section(results: Results) -> SeedsSection | None:
    """Return what the report shows of the repeats; None: there are none."""
    repeats = results.repeats
    if repeats is None or not repeats.runs:
        return None
    return SeedsSection(metrics_of(results, repeats), tuple(seed_rows(results, repeats)))


def metrics_of(results: Results, repeats: RepeatsEntry) -> tuple[str, ...]:
    """Return the metrics of the repeats: what is asked of candidates, what differs, the rest."""
    asked = [o.metric for o in results.objectives] + [c.metric for c in results.constraints]
    measured = dict.fromkeys(name for run in repeats.runs for name in run.metrics)
    return tuple(m for m in dict.fromkeys([*asked, *repeats.spread, *measured]) if m in measured)


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
