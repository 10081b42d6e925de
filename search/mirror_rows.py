"""Trials as rows of the tables of Optuna's storage, many of them in one transaction.

Optuna adds one trial at a time: it counts those before it, and looks up each parameter's choices in
an earlier one, so that ten thousand take minutes. The rows here are the same (`Mirror` has Optuna
make the file, and open it, which checks the version of its tables).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

Row = tuple[Any, ...]

_TABLES: Mapping[str, tuple[str, ...]] = {
    "trial_values": ("objective", "value", "value_type"),
    "trial_params": ("param_name", "param_value", "distribution_json"),
    "trial_user_attributes": ("key", "value_json"),
    "trial_system_attributes": ("key", "value_json"),
}


@dataclass(frozen=True)
class TrialRows:
    """One finished trial.

    Attributes:
        state: ``COMPLETE`` or ``FAIL``.
        tables: Its rows in each table beside ``trials``, by the first column.
    """

    state: str
    tables: Mapping[str, Sequence[Row]]


def rows_of(
    values: Sequence[float] | None,
    params: Mapping[str, tuple[float, str]],
    attributes: Mapping[str, Any],
    constraints: Mapping[str, float],
) -> TrialRows:
    """Return a finished trial.

    Args:
        values: Of the objectives, finite; None: the trial failed.
        params: Name to the number that Optuna holds, and its distribution as JSON.
        attributes: What is shown beside.
        constraints: By how much each one is broken.
    """
    return TrialRows(
        "FAIL" if values is None else "COMPLETE",
        {
            "trial_values": [(place, v, "FINITE") for place, v in enumerate(values or ())],
            "trial_params": sorted((name, *told) for name, told in params.items()),
            "trial_user_attributes": sorted((k, json.dumps(v)) for k, v in attributes.items()),
            "trial_system_attributes": sorted(
                (f"constraints:{key}", json.dumps(float(v))) for key, v in constraints.items()
            ),
        },
    )


def held(connection: sqlite3.Connection, study: int, trials: Sequence[TrialRows]) -> int | None:
    """Return how many of these trials a study holds; None if what it holds is not how they begin.

    Args:
        connection: To the file.
        study: Its number there.
        trials: What it should hold.
    """
    states = "select state from trials where study_id = ? order by number"
    known = [state for (state,) in connection.execute(states, (study,))]
    if known != [trial.state for trial in trials[: len(known)]]:
        return None
    for table, columns in _TABLES.items():
        named = ", ".join(f"{table}.{column}" for column in columns)
        stored = connection.execute(
            f"select trials.number, {named} from {table} join trials using (trial_id) "
            f"where trials.study_id = ? order by trials.number, {table}.{columns[0]}",
            (study,),
        )
        wanted = _numbered(table, trials[: len(known)])
        if any(a != b for a, b in zip_longest(stored, wanted)):
            return None
    return len(known)


def _numbered(table: str, trials: Iterable[TrialRows]) -> Iterator[Row]:
    for number, trial in enumerate(trials):
        yield from ((number, *row) for row in trial.tables[table])


def insert(connection: sqlite3.Connection, study: int, trials: Sequence[TrialRows]) -> None:
    """Add finished trials to a study, all or none of them.

    Args:
        connection: To the file.
        study: Its number there.
        trials: In order.

    Raises:
        sqlite3.Error: They cannot be written.
    """
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    with connection:
        connection.execute("begin immediate")
        (count,) = connection.execute(
            "select count(*) from trials where study_id = ?", (study,)
        ).fetchone()
        (last,) = connection.execute("select coalesce(max(trial_id), 0) from trials").fetchone()
        connection.executemany(
            "insert into trials (trial_id, number, study_id, state, datetime_start, "
            "datetime_complete) values (?, ?, ?, ?, ?, ?)",
            (
                (last + 1 + place, count + place, study, trial.state, now, now)
                for place, trial in enumerate(trials)
            ),
        )
        for table, columns in _TABLES.items():
            marks = ", ".join("?" for _ in ("trial_id", *columns))
            connection.executemany(
                f"insert into {table} (trial_id, {', '.join(columns)}) values ({marks})",
                ((last + 1 + row[0], *row[1:]) for row in _numbered(table, trials)),
            )
