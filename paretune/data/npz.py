"""Rows of an ``.npz`` file: named arrays whose first axis counts the rows."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from paretune.core.errors import DataError, nearest

Row = dict[str, Any]


def npz_rows(path: Path, columns: Sequence[str], limit: int | None = None) -> Iterator[Row]:
    """Yield the rows of some arrays of a file; nothing in it is run.

    Args:
        path: The file.
        columns: Names of the arrays.
        limit: Most rows.

    Raises:
        DataError: It is missing or damaged, lacks an array, or has arrays of objects or of
            different lengths.
    """
    import numpy as np

    if not path.is_file():
        raise DataError(
            f"data file {str(path)!r}: no such file",
            hint="Relative paths start at the configuration's folder.",
        )
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for column in columns:
                if column not in file.files:
                    raise DataError(
                        f"{path} has no array {column!r}", hint=nearest(column, file.files)
                    )
                arrays[column] = file[column]
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: not an .npz file of plain arrays: {error}",
            hint="Write it by numpy.savez; arrays of Python objects are not read.",
        ) from error
    lengths = {column: len(array) if array.ndim else None for column, array in arrays.items()}
    if len(set(lengths.values())) > 1 or None in lengths.values():
        told = ", ".join(f"{column}: {_length(length)}" for column, length in lengths.items())
        raise DataError(
            f"{path}: the arrays have different numbers of rows ({told})",
            hint="The first axis of each array counts the rows.",
        )
    for number in islice(range(next(iter(lengths.values())) or 0), limit):
        yield {column: array[number] for column, array in arrays.items()}


def _length(length: int | None) -> str:
    return "no axis" if length is None else str(length)
