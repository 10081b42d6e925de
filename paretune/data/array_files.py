"""Data sets of arrays: their files are read once, and divided as those of texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from paretune.core.errors import DataError
from paretune.core.permissions import Permissions
from paretune.data.arrays import ArrayData, ReadArrays, read_arrays
from paretune.data.files import iter_rows, read_hub
from paretune.data.npz import npz_rows
from paretune.data.processing import process_of
from paretune.data.references import place_in
from paretune.data.spec import DataSpec
from paretune.data.splitting import divide


class ArrayFiles:
    """Reads data sets of arrays.

    Args:
        path: Returns where a file that a configuration names is.
        root: Folder that relative paths start from.
        permissions: Whether `process` may run a function that the configuration names, and whether
            anything may be fetched from the hub.
    """

    def __init__(self, path: Callable[[str], Path], root: Path, permissions: Permissions) -> None:
        self._path, self._root, self._permissions = path, root, permissions
        self._read: dict[tuple[str, str], ReadArrays] = {}

    def load(self, ref: str, name: str, spec: DataSpec, part: str) -> ArrayData:
        """Return a data set, or one split of it.

        Args:
            ref: Its reference.
            name: Of the data set.
            spec: Of the data set.
            part: Which split of it; empty: the whole.

        Raises:
            DataError: The file is missing, broken or empty.
        """
        rows = self.content(name, spec, part).rows
        if part and spec.split is not None:
            rows = tuple(rows[n] for n in divide(spec.split, [row.group for row in rows])[part])
        if not rows:
            raise DataError(
                f"{ref}: no rows", hint="An empty data set trains and measures nothing."
            )
        return ArrayData(ref, rows)

    def content(self, name: str, spec: DataSpec, part: str) -> ReadArrays:
        """Return what a data set's file holds; see `load`."""
        key = (name, place_in(spec, part))
        if key not in self._read:
            # First: a function that may not run is told before a long file is read.
            process = process_of(spec, self._root, self._permissions)
            rows, file, folder = self._rows(spec, key[1])
            found = read_arrays(spec, islice(rows, spec.skip, None), file, folder, process)
            if not found.rows:
                raise DataError(f"{file} has no rows", hint="Expected at least one.")
            self._read[key] = found
        return self._read[key]

    def _rows(self, spec: DataSpec, place: str) -> tuple[Iterable[Mapping[str, Any]], str, Path]:
        """Return the rows, where they come from, and the folder that paths in them start from."""
        if spec.hub is not None:
            hub = read_hub(
                spec.hub,
                spec.config,
                spec.revision,
                place,
                self._permissions.network,
                columns=spec.columns,
                limit=spec.last,
            )
            return hub, f"{spec.hub} ({place})", self._root
        file = spec.files[place] if spec.files is not None else spec.file
        assert file is not None
        path = self._path(file)
        if (spec.format or path.suffix.removeprefix(".").lower()) == "npz":
            return npz_rows(path, spec.columns, spec.last), file, path.parent
        rows = iter_rows(path, spec.format, columns=spec.columns, limit=spec.last)
        return rows, file, path.parent


def overlap_of_arrays(train: ArrayData, test: ArrayData) -> str | None:
    """Return a warning if two parts share inputs; None if they do not.

    Args:
        train: What a pass reads.
        test: What is measured on.
    """
    mine = {row.inputs_digest for row in train.rows}
    shared = [row for row in test.rows if row.inputs_digest in mine]
    if not shared:
        return None
    return (
        f"{len(shared)} of {len(test.rows)} rows of {test.ref} have the arrays of a row of "
        f"{train.ref}, such as row {shared[0].row + 1}: a metric on them does not show how the "
        "model does on new ones"
    )
