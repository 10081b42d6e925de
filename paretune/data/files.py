"""Reads rows from files and from the hub; the error for a broken line gives its number."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from paretune.core.errors import DataError
from paretune.core.jsontools import parse_json
from paretune.data.lines import lines_of, rows_apart
from paretune.data.parquet import parquet_columns, parquet_rows
from paretune.models.pickles import convert_data

Row: TypeAlias = dict[str, Any]

_BY_SUFFIX = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "text",
}
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_QUOTE = "Quote values that hold {}, quotes or line breaks."


def iter_rows(
    path: Path,
    format: str | None = None,
    *,
    columns: Sequence[str] | None = None,
    limit: int | None = None,
) -> Iterator[Row]:
    """Yield a file's rows one after another.

    Args:
        path: The file.
        format: ``json`` (an array, or lines), ``jsonl``, ``csv``, ``tsv``, ``parquet`` or ``text``
            (one row a line, column ``text``); by default what the suffix says.
        columns: Those that are needed; a format that can reads no others. None: all.
        limit: Most rows; what comes after them is not read.

    Raises:
        DataError: It is missing, not of that format, has a column or a key twice, or a line in it
            is broken.
    """
    if not path.is_file():
        raise DataError(
            f"data file {str(path)!r}: no such file",
            hint="Relative paths start at the configuration's folder.",
        )
    known = format or _BY_SUFFIX.get(path.suffix.lower())
    if known is None:
        convert = convert_data(path.suffix)
        if convert is not None:
            raise DataError(f"{path}: {path.suffix} files are not read", hint=convert)
        if path.suffix:
            next(lines_of(path), None)  # one that is compressed is told how to unpack
        raise DataError(
            f"{path}: cannot tell the format from the suffix {path.suffix!r}",
            hint=f"Say `format:`, or use one of {', '.join(sorted(_BY_SUFFIX))}.",
        )
    try:
        yield from islice(_rows(path, known, columns), limit)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}", hint="Is it yours to read?"
        ) from error


def _rows(path: Path, format: str, columns: Sequence[str] | None) -> Iterator[Row]:
    if format == "parquet":
        _each_once(path, parquet_columns(path))
        return parquet_rows(path, columns)
    lines = lines_of(path)
    if format in _DELIMITERS:
        return _separated(path, rows_apart(lines), _DELIMITERS[format])
    if format == "text":
        texts = (line.rstrip("\r\n") for line in rows_apart(lines))
        return ({"text": text} for text in texts if text.strip())
    return _json_rows(path, lines, format)


def _json_rows(path: Path, lines: Iterator[str], format: str) -> Iterator[Row]:
    """Yield the objects of an array, or of one line each."""
    numbered = enumerate(lines, start=1)
    first = next(((n, line) for n, line in numbered if line.strip()), None)
    if first is None:
        return
    number, line = first
    rest = (line for _, line in numbered)
    if format == "json" and line.lstrip().startswith("["):
        yield from _array(path, "\n" * (number - 1) + line + "".join(rest))
        return
    yield _object_of_line(path, number, line, rest if format == "json" else ())
    for number, line in numbered:
        if line.strip():
            yield _object_of_line(path, number, line)


def _object_of_line(path: Path, number: int, line: str, rest: Iterable[str] = ()) -> Row:
    """Return the object on a line; the rest tells whether one object goes over the whole file."""
    try:
        row = parse_json(line, unique=True)
    except ValueError as error:
        _one_for_all(path, line + "".join(rest))
        raise DataError(
            f"{path}: line {number} is not JSON: {error}",
            hint=f"The line begins with {line.strip()[:60]!r}.",
        ) from error
    return _object(path, f"line {number}", row)


def _one_for_all(path: Path, text: str) -> None:
    """Refuse a file that is one object over several lines.

    Raises:
        DataError: It is.
    """
    if "\n" not in text.strip():
        return
    try:
        found = parse_json(text)
    except ValueError:
        return
    if isinstance(found, dict):
        keys = ", ".join(map(repr, list(found)[:5]))
        raise DataError(
            f"{path}: is one object with the keys {keys}, expected an array of objects, or one "
            "object a line",
            hint="Write the list of rows alone into a file of its own.",
        )


def _array(path: Path, text: str) -> Iterator[Row]:
    try:
        found = parse_json(text, unique=True)
    except ValueError as error:
        raise DataError(
            f"{path}: not JSON: {error}", hint="Expected an array of objects, or one a line."
        ) from error
    return (_object(path, f"entry {n}", row) for n, row in enumerate(found, start=1))


def _object(path: Path, where: str, row: Any) -> Row:
    if not isinstance(row, dict):
        raise DataError(
            f"{path}: {where} is a {type(row).__name__}, expected an object",
            hint='A row looks like {"text": "...", "label": "..."}.',
        )
    return row


def _separated(path: Path, lines: Iterator[str], delimiter: str) -> Iterator[Row]:
    """Yield the rows below a header; a column without a name is left out."""
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the library's own limit is 128 KB
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    sign = "tabs" if delimiter == "\t" else "commas"
    header: list[str] | None = None
    try:
        for cells in reader:
            if not cells:
                continue
            if header is None:
                header = cells
                _each_once(path, header)
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"{path}: line {reader.line_num} does not have the {len(header)} columns of "
                    f"the header (it has {len(cells)})",
                    hint=_QUOTE.format(sign),
                )
            yield {name: cell for name, cell in zip(header, cells, strict=True) if name}
    except csv.Error as error:
        raise DataError(
            f"{path}: line {reader.line_num} is not {'TSV' if sign == 'tabs' else 'CSV'}: {error}",
            hint=_QUOTE.format(sign),
        ) from error


def _each_once(path: Path, names: Sequence[str]) -> None:
    """Refuse columns of the same name: it would not be known which one is meant.

    Raises:
        DataError: A name comes twice. Columns without any cannot be named, and do not matter.
    """
    places: dict[str, int] = {}
    for place, name in enumerate(names, start=1):
        if name and name in places:
            raise DataError(
                f"{path}: columns {places[name]} and {place} are both named {name!r}",
                hint="Rename one of them, or remove it.",
            )
        places[name] = place


def read_hub(
    name: str,
    config: str | None,
    revision: str | None,
    split: str,
    allow_network: bool,
    *,
    columns: Sequence[str] | None = None,
    limit: int | None = None,
) -> Iterator[Row]:
    """Yield the rows of one split of a Hugging Face data set; remote code is never run.

    Raises:
        DataError: The network is not allowed, or there is no such data set or split.
    """
    if not allow_network:
        raise DataError(
            f"data set {name!r} is on the hub, and the network is off",
            hint="Allow it with --allow-network, or save the data as a file.",
        )
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    try:
        found = datasets.load_dataset(name, config, split=split, revision=revision)
    except (ValueError, OSError, HfHubHTTPError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"data set {name!r}, split {split!r}: {error}",
            hint="Check its name, configuration, revision and split.",
        ) from error
    if columns and set(columns) <= set(found.column_names):
        found = found.select_columns(list(columns))
    for row in islice(found, limit):
        yield dict(row)
