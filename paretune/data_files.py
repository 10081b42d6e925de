"""Reads rows from files and from the hub; a broken line is told by its number."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, TypeAlias

from paretune.errors import DataError
from paretune.jsontools import parse_json
from paretune.pickles import convert_data

Row: TypeAlias = dict[str, Any]

_BY_SUFFIX = {
    ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv",
    ".parquet": "parquet", ".txt": "text",
}  # fmt: skip


def read_rows(path: Path, format: str | None = None) -> list[Row]:
    """Read every row of a file.

    Args:
        path: The file.
        format: ``json`` (an array, or lines), ``jsonl``, ``csv``, ``parquet`` or ``text`` (one
            row a line, column ``text``); by default what the suffix says.

    Raises:
        DataError: It is missing, not of that format, or a line in it is broken.
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
        raise DataError(
            f"{path}: cannot tell the format from the suffix {path.suffix!r}",
            hint=f"Say `format:`, or use one of {', '.join(sorted(_BY_SUFFIX))}.",
        )
    if known == "parquet":
        return _parquet(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}: line {line} is not UTF-8", hint="Save the file as UTF-8."
        ) from error
    if known == "csv":
        return _csv(path, text)
    if known == "text":
        return [{"text": line} for line in text.splitlines() if line.strip()]
    if known == "json" and text.lstrip().startswith("["):
        return _array(path, text)
    return _lines(path, text)


def _lines(path: Path, text: str) -> list[Row]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise DataError(
                f"{path}: line {number} is not JSON: {error}",
                hint=f"The line begins with {line[:60]!r}.",
            ) from error
        rows.append(_object(path, f"line {number}", row))
    return rows


def _array(path: Path, text: str) -> list[Row]:
    try:
        found = parse_json(text)
    except ValueError as error:
        raise DataError(
            f"{path}: not JSON: {error}", hint="Expected an array of objects, or one a line."
        ) from error
    return [_object(path, f"entry {n}", row) for n, row in enumerate(found, start=1)]


def _object(path: Path, where: str, row: Any) -> Row:
    if not isinstance(row, dict):
        raise DataError(
            f"{path}: {where} is a {type(row).__name__}, expected an object",
            hint='A row looks like {"text": "...", "label": "..."}.',
        )
    return row


def _csv(path: Path, text: str) -> list[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise DataError(
                    f"{path}: line {reader.line_num} does not have the "
                    f"{len(reader.fieldnames or ())} columns of the header",
                    hint="Quote values that hold commas or line breaks.",
                )
            rows.append(dict(row))
    except csv.Error as error:
        raise DataError(
            f"{path}: line {reader.line_num} is not CSV: {error}",
            hint="Quote values that hold commas, quotes or line breaks.",
        ) from error
    return rows


def _parquet(path: Path) -> list[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows: list[Row] = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError, OverflowError, ValueError) as error:
        # The last two: dates beyond Python's, and text that is not UTF-8.
        raise DataError(
            f"{path}: not a Parquet file: {error}", hint="Say `format:` if it is another one."
        ) from error
    return rows


def read_hub(
    name: str, config: str | None, revision: str | None, split: str, allow_network: bool
) -> list[Row]:
    """Read one split of a Hugging Face data set; remote code is never run.

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
    return [dict(row) for row in found]
