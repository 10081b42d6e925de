"""Rows of a data set on which networks are compared, kept for the next build of the same search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paretune.data.arrays import ArrayRow
from paretune.data.context import Context
from paretune.runtimes.base import Runs
from paretune.targets.worker.compared_cache import ComparedCache

ROWS = 16
"""Rows that are compared, evenly spaced."""


def compared_rows(ref: str, context: Context, cache: ComparedCache) -> list[ArrayRow]:
    """Return some rows of a data set; the whole of it is read at the first time only.

    Args:
        ref: A data set of arrays.
        context: Has the data.
        cache: Where the rows are kept.

    Raises:
        DataError: The data set cannot be read.
    """
    digest = context.data.known_digest(ref)
    key = cache.key("rows", digest, ROWS)
    kept, arrays = cache.value(key), cache.arrays(key)
    if kept is not None and arrays is not None:
        names = kept["names"]
        starts = range(0, len(arrays), len(names))
        given = [dict(zip(names, arrays[at : at + len(names)], strict=True)) for at in starts]
    else:
        rows = context.data.arrays(ref).rows
        given = [dict(row.inputs) for row in rows[:: max(1, -(-len(rows) // ROWS))]]
        names = sorted(given[0])
        cache.keep_arrays(key, [row[name] for row in given for name in names])
        cache.keep_value(key, {"names": list(names)})
    return [ArrayRow(row, None, number, "", "") for number, row in enumerate(given)]


def runs_on(
    session: Runs, rows: list[ArrayRow], ref: str
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Run a network on rows.

    Args:
        session: The network.
        rows: Of a data set.
        ref: The data set, for messages.

    Returns:
        Inputs and outputs of each run.

    Raises:
        DataError: The rows do not have the inputs of the network.
        InvalidArtifactError: It does not run on them.
    """
    steps = getattr(session, "has_state", False)
    given = [row.batch(session.inputs, ref, steps=steps)[0] for row in rows]
    return [(each, dict(session.run(each))) for each in given]
