"""What a network is given while it is timed: rows of a data set, or made-up arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from paretune.core.errors import InvalidArtifactError, UsageError
from paretune.data.arrays import ArrayRow

Inputs: TypeAlias = Mapping[str, tuple[str, tuple[int | None, ...]]]
Request: TypeAlias = dict[str, Any]

MOST_REQUESTS = 64
"""Different requests that are made of a data set, and taken one after another."""


def of_rows(
    rows: Sequence[ArrayRow], inputs: Inputs, ref: str, batch_size: int, *, steps: bool = False
) -> list[Request]:
    """Return requests of so many rows each, in the order of the data.

    Rows of one request have equal shapes; where there are too few of a shape, they are repeated.

    Args:
        rows: Of a data set.
        inputs: Type and shape of each input of the network.
        ref: Of the data set, for messages.
        batch_size: Rows a request.
        steps: Whether the network has state, so that rows may be sequences.

    Raises:
        DataError: A row does not fit the network.
        UsageError: The network takes another number of rows at once.
    """
    import numpy as np

    counting = _counting_rows(rows[0], inputs, ref, steps=steps)
    check_batch_size(counting, batch_size)
    if batch_size > 1 and not counting:
        raise UsageError(
            f"latency: the network takes one row of {ref} at a time: none of its inputs counts "
            "rows",
            hint="Leave out `batch_size`.",
        )
    by_shape: dict[tuple[Any, ...], list[ArrayRow]] = {}
    for row in rows[: MOST_REQUESTS * batch_size]:
        shape = tuple((name, row.inputs[name].shape) for name in sorted(row.inputs))
        by_shape.setdefault(shape, []).append(row)
    found = []
    for alike in by_shape.values():
        for start in range(0, len(alike), batch_size):
            some = [alike[(start + n) % len(alike)] for n in range(batch_size)]
            given = [row.batch(inputs, ref, steps=steps)[0] for row in some]
            found.append(
                (
                    some[0].row,
                    {
                        name: np.concatenate([each[name][:1] for each in given])
                        if array.ndim > some[0].inputs[name].ndim
                        else array
                        for name, array in given[0].items()
                    },
                )
            )
    found.sort(key=lambda numbered: numbered[0])
    return [request for _, request in found[:MOST_REQUESTS]]


def made_up(
    inputs: Inputs, shapes: Mapping[str, Sequence[int]], seed: int, batch_size: int | None
) -> Request:
    """Return random floats, and ones of every other type.

    Args:
        inputs: Type and shape of each input of the network.
        shapes: Of inputs, by name; sizes that the network leaves open are 1 otherwise, the first
            one the size of the batch.
        seed: Of the random numbers.
        batch_size: Rows that are counted, the length of the first axis; None: 1 where it is open.

    Raises:
        InvalidArtifactError: There is no such input, or one is not an array of numbers.
        UsageError: The network takes another number of rows at once.
    """
    import numpy as np

    unknown = sorted(set(shapes) - set(inputs))
    if unknown:
        raise InvalidArtifactError(
            f"latency: shapes: the network has no input {unknown[0]!r}",
            hint=f"Its inputs are {', '.join(inputs)}.",
        )
    if batch_size is not None:
        check_batch_size(inputs, batch_size)
    draw, found = np.random.default_rng(seed), {}
    for name, (kind, known) in inputs.items():
        if "(" in kind:
            raise InvalidArtifactError(
                f"latency: the input {name!r} is not an array of numbers: {kind}"
            )
        sizes = [1 if size is None else size for size in known]
        if batch_size is not None and known and known[0] is None:
            sizes[0] = batch_size
        shape = list(shapes.get(name, sizes))
        rows = shape[0] if shape and known and known[0] is None else None
        if None not in (rows, batch_size) and rows != batch_size:
            raise UsageError(
                f"latency: shapes: {name} has {rows} rows, the length of its first axis, and the "
                f"throughput is that of {batch_size}",
                hint=f"Say `batch_size: {rows}`.",
            )
        array = draw.normal(size=shape) if kind.startswith("float") else np.ones(shape)
        found[name] = array.astype(kind)
    return found


def check_batch_size(inputs: Inputs, batch_size: int) -> None:
    """Refuse a number of rows that the network does not take at once.

    Args:
        inputs: Type and shape of each input of the network.
        batch_size: Rows a request.

    Raises:
        UsageError: Its first axes are fixed, all of them to other lengths.
    """
    first = {name: shape[0] for name, (_, shape) in inputs.items() if shape}
    if first and None not in first.values() and batch_size not in first.values():
        name, length = next(iter(first.items()))
        raise UsageError(
            f"latency: the network takes {length} at once in {name!r}, not {batch_size}",
            hint=f"Say `batch_size: {length}`, or export the network with an open first axis.",
        )


def _counting_rows(row: ArrayRow, inputs: Inputs, ref: str, *, steps: bool) -> Inputs:
    """Return the inputs whose first axis counts rows: a row's array has one axis less."""
    given, _ = row.batch(inputs, ref, steps=steps)
    return {name: inputs[name] for name in given if given[name].ndim > row.inputs[name].ndim}
