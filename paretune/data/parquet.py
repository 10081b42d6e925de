"""Rows of a Parquet file, batch by batch: only the columns that are asked for are decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from paretune.core.errors import DataError

_ROWS_AT_ONCE = 512


def parquet_columns(path: Path) -> list[str]:
    """Return the names of a file's columns, as they stand in it.

    Raises:
        DataError: It is not a Parquet file.
    """
    with _Opened(path) as file:
        return list(file.schema_arrow.names)


def parquet_rows(path: Path, columns: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    """Yield rows; nothing is read beyond the rows that the caller takes.

    Args:
        path: The file.
        columns: Those to read; None: all.

    Raises:
        DataError: It is not a Parquet file, or holds values that Python does not have.
    """
    with _Opened(path) as file:
        names = file.schema_arrow.names
        # Where one is missing, the first row is refused, by the names of those that are there.
        asked = set(columns or ())
        wanted = [n for n in names if n in asked] if asked and asked <= set(names) else names
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=wanted):
            found = {
                name: _values(batch.column(batch.schema.get_field_index(name))) for name in wanted
            }
            for i in range(batch.num_rows):
                yield {name: values[i] for name, values in found.items()}


class _Opened:
    """A Parquet file that is open; what the library says of it becomes a DataError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None

    def __enter__(self) -> Any:
        import pyarrow
        import pyarrow.parquet

        try:
            # Of a column of texts that repeat, each text is kept once.
            schema = pyarrow.parquet.read_schema(self._path)
            texts = [f.name for f in schema if pyarrow.types.is_string(f.type)]
            self._file = pyarrow.parquet.ParquetFile(
                self._path, read_dictionary=texts, pre_buffer=False
            )
        except (pyarrow.ArrowException, OSError, OverflowError, ValueError) as error:
            raise self._wrong(error) from error
        return self._file

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        import pyarrow

        if self._file is not None:
            self._file.close()
        # The last two: dates beyond Python's, and text that is not UTF-8.
        if isinstance(error, (pyarrow.ArrowException, OSError, OverflowError, ValueError)):
            raise self._wrong(error) from error

    def _wrong(self, error: BaseException) -> DataError:
        return DataError(
            f"{self._path}: not a Parquet file: {error}", hint="Say `format:` if it is another one."
        )


def _values(column: Any) -> list[Any]:
    """Return a column of a batch as Python's values; equal texts of it are one object."""
    import numpy as np
    import pyarrow

    kind = column.type
    if pyarrow.types.is_dictionary(kind):
        words = _values(column.dictionary)
        return [None if i is None else words[i] for i in column.indices.to_pylist()]
    values: list[Any] = column.to_pylist()
    # As Python's float 0.1 in 32 bits is 0.10000000149011612, which nobody wrote.
    narrow = {pyarrow.float32(): np.float32, pyarrow.float16(): np.float16}.get(kind)
    if narrow is not None:
        return [None if value is None else float(str(narrow(value))) for value in values]
    return values
