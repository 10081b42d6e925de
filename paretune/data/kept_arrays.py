"""Rows of arrays as one file: what pre-processing made, for machines that do not have its sources.

A zip archive without compression: ``rows.json`` says each row's answer and, of each input, type and
shape; of input N the member ``N`` holds the bytes of all rows, one after the other. The same rows
make the same file.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paretune.core.errors import DataError
from paretune.core.jsontools import canonical
from paretune.data.arrays import ArrayData, ArrayRow, inputs_digest

_TOLD = "rows.json"


def keep_rows(data: ArrayData, file: Path) -> None:
    """Write rows to a file, which is there whole or not at all.

    Args:
        data: The rows.
        file: Where; a file that is there is replaced.
    """
    names = sorted(data.rows[0].inputs)
    told = [
        {
            "row": row.row,
            "group": row.group,
            "target": row.target,
            "arrays": [[a.dtype.str, list(a.shape)] for a in map(row.inputs.__getitem__, names)],
        }
        for row in data.rows
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    begun = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(begun, "w") as archive:
            # A member that is named alone has a fixed date.
            archive.writestr(zipfile.ZipInfo(_TOLD), canonical({"inputs": names, "rows": told}))
            for number, name in enumerate(names):
                with archive.open(zipfile.ZipInfo(str(number)), "w", force_zip64=True) as member:
                    for row in data.rows:
                        member.write(row.inputs[name].tobytes())
        os.replace(begun, file)
    finally:
        begun.unlink(missing_ok=True)


def kept_rows(file: Path, ref: str) -> ArrayData:
    """Read what `keep_rows` wrote.

    Args:
        file: The file.
        ref: Of the data set.

    Raises:
        DataError: It is missing or damaged.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            told = json.loads(archive.read(_TOLD))
            columns = [
                list(_arrays(archive, number, [row["arrays"][number] for row in told["rows"]]))
                for number in range(len(told["inputs"]))
            ]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{ref}: the copy of its rows in {file} cannot be read: {error}",
            hint="Run the same command again, which writes it again.",
        ) from error
    rows = []
    for number, row in enumerate(told["rows"]):
        arrays = {
            name: column[number] for name, column in zip(told["inputs"], columns, strict=True)
        }
        found = inputs_digest(arrays)
        rows.append(ArrayRow(arrays, row["target"], row["row"], row["group"], found))
    return ArrayData(ref, tuple(rows))


def _arrays(archive: zipfile.ZipFile, number: int, told: list[Any]) -> Iterator[Any]:
    import numpy as np

    with archive.open(str(number)) as member:
        for kind, shape in told:
            dtype = np.dtype(kind)
            content = member.read(math.prod(shape) * dtype.itemsize)
            yield np.frombuffer(content, dtype).reshape(shape).copy()  # one that can be written
