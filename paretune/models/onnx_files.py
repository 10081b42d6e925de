"""Which files an ONNX model names: read from its protobuf message itself, without any library.

ONNX Runtime opens whatever file a tensor's ``external_data`` names, wherever in the model that
tensor stands: as an initializer, in a node's attribute, in a subgraph, in a function. All of them
are found here before a runtime sees the model, in a few milliseconds and without its weights
being read. A protobuf message is a list of fields, each a number, a kind and its bytes
(https://protobuf.dev/programming-guides/encoding/); only fields that can lead to a tensor are
gone into.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from paretune.core.errors import UsageError

MAX_BYTES = (2 << 30) - 1
"""What protobuf itself can hold; larger models keep their weights beside the file."""

MAX_DEPTH = 100
"""Messages inside each other, protobuf's own limit: about 30 subgraphs."""

_MAX_FIELDS = 4_000_000

INSIDE: Mapping[str, Mapping[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {13: "StringStringEntryProto"},
}
"""Message to its fields that can lead to external data, by number (onnx.proto, ONNX 1.23)."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_KEY, _VALUE = 1, 2


def external_files(path: Path) -> dict[str, int]:
    """Return the file names that stand in a model's external data, each with its least size.

    Args:
        path: An ONNX file.

    Returns:
        The bytes that a file must have for the last of the tensors that lie in it, by name.

    Raises:
        UsageError: It is not an ONNX file, or is unreasonably large or deep.
    """
    found: dict[str, int] = {}
    with opened(path) as data:
        for name, size in sorted(_locations(Reader(data), "ModelProto", 0, len(data))):
            found[name] = max(size, found.get(name, 0))
    return found


@contextmanager
def opened(path: Path) -> Iterator[memoryview]:
    """Yield the bytes of an ONNX file, mapped into memory.

    Raises:
        UsageError: It is not an ONNX file (also if a `ValueError` in the context says so), or is
            unreasonably large.
    """
    if not path.is_file():
        raise _broken(path, "it is not a file at all")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise UsageError(
            f"{path}: {size} bytes, and an ONNX file holds at most {MAX_BYTES}",
            hint="Keep its weights beside it: onnx.save_model(..., save_as_external_data=True).",
        )
    if size == 0:
        raise _broken(path, "it is empty")
    with (
        open(path, "rb") as source,
        mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as data,
    ):
        try:
            yield data
        except ValueError as error:
            raise _broken(path, str(error)) from error


def network_file(folder: Path) -> Path:
    """Return the network of a plain ONNX folder: ``model.onnx``, or the only ONNX file in it.

    Raises:
        UsageError: There is none, or there are several.
    """
    found = sorted(path for path in folder.glob("*.onnx") if path.is_file())
    named = [path for path in found if path.name == "model.onnx"] or found
    if len(named) != 1:
        raise UsageError(
            f"model {str(folder)!r}: {len(found)} ONNX files in it: "
            f"{', '.join(path.name for path in found[:5]) or 'none'}",
            hint="Expected one, or one that is called model.onnx.",
        )
    return named[0]


def _broken(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{path}: not an ONNX file: {why}", hint="Export the model again; this file is damaged."
    )


@dataclass(frozen=True)
class Field:
    """One field of a message.

    Attributes:
        number: Its number.
        start: Where it starts, its tag included.
        begin: Where its bytes begin; -1 if it holds a number.
        end: Where it ends.
        value: The number that it holds; 0 if it holds bytes or a number of fixed width.
    """

    number: int
    start: int
    begin: int
    end: int
    value: int


class Reader:
    """Reads the fields of one model's messages, no more of them than is reasonable.

    Args:
        data: The file's content.
    """

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self._count = 0

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """Yield each field of a message.

        Raises:
            ValueError: The message is malformed, or the model has too many fields.
        """
        at = start
        while at < end:
            self._count += 1
            if self._count > _MAX_FIELDS:
                raise ValueError(f"more than {_MAX_FIELDS} fields")
            field = self._field(at, end)
            yield field
            at = field.end

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """Return a number in base 128, lowest digits first, and where it ends."""
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                break
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
        raise ValueError("a number that does not end")

    def text(self, field: Field) -> str:
        """Return the text that a field holds."""
        return bytes(self.data[field.begin : field.end]).decode("utf-8")

    def _field(self, start: int, end: int) -> Field:
        tag, at = self.varint(start, end)
        number, kind = tag >> 3, tag & 7
        begin, value = -1, 0
        if kind == _BYTES:
            length, begin = self.varint(at, end)
            at = begin + length
        elif kind == _VARINT:
            value, at = self.varint(at, end)
        elif kind == _FIXED64:
            at += 8
        elif kind == _FIXED32:
            at += 4
        else:
            raise ValueError(f"a field of the unknown kind {kind}")
        if at > end or not number:
            raise ValueError("a field that ends outside of its message")
        return Field(number, start, begin, at, value)


def _locations(
    reader: Reader, message: str, start: int, end: int, depth: int = 1
) -> Iterator[tuple[str, int]]:
    """Yield every external file name in a message, and how many bytes that file must have.

    Raises:
        ValueError: The message is malformed, or beyond the limits.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} messages")
    entries: dict[str, list[str]] = {}
    for field in reader.fields(start, end):
        inner = INSIDE[message].get(field.number)
        if inner is None or field.begin < 0:
            continue
        if inner == "StringStringEntryProto":
            _note(reader, field, entries)
        else:
            yield from _locations(reader, inner, field.begin, field.end, depth + 1)
    size = sum(max(map(_number, entries.get(key, ())), default=0) for key in ("offset", "length"))
    yield from ((name, size) for name in entries.get("location", ()))


def _note(reader: Reader, entry: Field, entries: dict[str, list[str]]) -> None:
    """Note what an entry of external data says.

    A field that is given twice counts twice here: which one a parser believes is its affair.
    """
    fields = reader.fields(entry.begin, entry.end)
    texts = [(f.number, reader.text(f)) for f in fields if f.begin >= 0]
    values = [text for number, text in texts if number == _VALUE]
    for key in (text for number, text in texts if number == _KEY):
        entries.setdefault(key, []).extend(values)


def _number(text: str) -> int:
    """Return the number that a text is; 0: it is none, which the runtime refuses itself."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0
