"""The decoded lines of a text file, one after another; bytes that are not text are refused."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from pathlib import Path

from paretune.core.errors import DataError

_WIDE = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PACKED = (
    (b"\x1f\x8b", "gzip", "gunzip -k"),
    (b"\x28\xb5\x2f\xfd", "Zstandard", "unzstd"),
    (b"BZh", "bzip2", "bunzip2 -k"),
    (b"\xfd7zXZ\0", "xz", "unxz -k"),
    (b"PK\x03\x04", "a zip archive", "unzip"),
)


def lines_of(path: Path) -> Iterator[str]:
    """Yield a file's lines, with what ends them.

    UTF-8, with or without a byte order mark; UTF-16 and UTF-32 with one.

    Raises:
        DataError: It is compressed, is another encoding, or holds a NUL byte.
    """
    with open(path, "rb") as source:
        begin = source.read(8)
        for mark, name, command in _PACKED:
            if begin.startswith(mark):
                raise DataError(
                    f"{path}: compressed ({name}), no text",
                    hint=f"Unpack it first: {command} {path.name}",
                )
        for mark, encoding in _WIDE:
            if begin.startswith(mark):
                yield from io.StringIO(_decoded(path, encoding), newline="\n")
                return
        source.seek(len(codecs.BOM_UTF8) if begin.startswith(codecs.BOM_UTF8) else 0)
        for number, raw in enumerate(source, start=1):
            yield _line(path, number, raw)


def rows_apart(lines: Iterator[str]) -> Iterator[str]:
    r"""Yield lines that end with ``\n``, ``\r\n`` or ``\r``, each with its end."""
    for line in lines:
        if "\r" in line:
            yield from io.StringIO(line, newline="")
        else:
            yield line


def _line(path: Path, number: int, raw: bytes) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: line {number} is not UTF-8", hint="Save the file as UTF-8."
        ) from error
    if "\0" in text:
        raise DataError(
            f"{path}: line {number} holds a NUL byte, which is not valid in text",
            hint="If it is UTF-16, save it as UTF-8; else the file is damaged or is not text.",
        )
    return text


def _decoded(path: Path, encoding: str) -> str:
    try:
        text = path.read_bytes().decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: begins as {encoding.upper()}, and is not: {error.reason} at byte "
            f"{error.start}",
            hint="Save the file as UTF-8.",
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(f"{path}: line {line} holds a NUL character", hint="Remove it.")
    return text
