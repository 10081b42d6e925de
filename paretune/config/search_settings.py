"""Reads ``search:``: the strategy, what it may spend, and what follows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paretune.config.earlier_studies import configured_studies
from paretune.config.plan import SearchSettings
from paretune.config.schema import SearchSection, seconds
from paretune.config.targets import TargetPlan
from paretune.config.yaml_source import Wrong
from paretune.core.errors import UsageError, nearest
from paretune.registry import names
from paretune.search.constraints import Objective
from paretune.search.stop_rule import StopRule


def read_search(
    section: SearchSection,
    objectives: tuple[Objective, ...],
    root: Path,
    wrong: Wrong,
    trials: int | None,
    time: str | float | None,
) -> SearchSettings:
    """Return how to search.

    Args:
        section: As given.
        objectives: Of the configuration.
        root: Its folder.
        wrong: Receives what is wrong.
        trials: In place of ``trials``.
        time: In place of ``time``; seconds, or ``10m``.

    Raises:
        UsageError: `time` is not a time.
    """
    known = (*names("strategies"), "auto")
    if section.strategy not in known:
        wrong(
            ("search", "strategy"),
            f"no strategy named {section.strategy!r}",
            nearest(section.strategy, known),
        )
    wanted = [o.metric for o in objectives]
    if section.prefer is not None and section.prefer not in wanted:
        wrong(
            ("search", "prefer"),
            f"{section.prefer!r} is not an objective",
            nearest(section.prefer, wanted),
        )
    limit: Any = section.time
    if time is not None:
        try:
            limit = seconds(time)
        except ValueError as error:
            raise UsageError(f"--time {time!r}: {error}") from error
    return SearchSettings(
        section.strategy,
        section.trials if trials is None else trials,
        limit,
        section.seed,
        section.prefer,
        section.job_time,
        section.job_memory,
        section.finals,
        section.builds,
        section.share_measurements,
        None if section.stop is None else StopRule(**dict(section.stop)),
        configured_studies(section.from_, root, wrong),
        section.parent_quality,
        section.repeat_pick,
    )


def check_slots(targets: TargetPlan, section: SearchSection, wrong: Wrong) -> None:
    """Refuse a second word on how many builds run at once."""
    if section.builds is not None and len(targets.builders) > 1:
        wrong(
            ("search", "builds"),
            f"stands beside several targets that build ({', '.join(targets.builders)})",
            "Write `slots: N` for each of them under `target`.",
        )
    elif section.builds is not None and targets.slots is not None:
        wrong(
            ("search", "builds"),
            f"stands beside `slots: {targets.slots}` under `target`: expected one of them",
            "Leave `builds` out: `slots` says how many builds run at once, and where.",
        )
