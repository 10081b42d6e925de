"""The structure of a model: everything that its speed depends on but the values of its weights.

Two builds of one structure run the same operators on tensors of the same shapes and types. Their
speed, load time and memory are then those of one program on other numbers, and a search measures
them once (`search/sharing.py`). The digest of a structure covers

- of each network (``.onnx``): every operator, attribute, name, shape, type and note in the order of
  the file, without documentation texts; every tensor below `SMALL` elements by its values; every
  larger one by name, shape, type, and where its values lie. Large tensors of integers of 64 bits,
  booleans or texts are no weights but tables, masks and indices: they count by their values,
  and so do the indices of sparse tensors, whose pattern decides the work. Scales and zero points
  of a large quantized matrix are part of it, however few they are;
- where values lie: inside the file or outside of it, and then the file's name, offset and length.
  They decide how a runtime loads a tensor and whether two tensors share memory, and builds of equal
  shapes lay them out alike. A checksum beside them is left out;
- of each adapter (``.onnx_adapter``): names, shapes and types of its matrices;
- of every other file its name and content (of ``genai_config.json`` its values in any order): what
  a tokenizer or a setting changes may be load time or memory, and these files are small. A file of
  weights that a network names counts by its size.

What this does not see: values that make arithmetic slower, such as subnormal numbers. Therefore
nothing is decided by a value that was taken over.

The networks are read as bytes, without a library and without their weights: milliseconds.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from paretune.core.errors import ParetuneError
from paretune.core.jsontools import canonical, read_json
from paretune.core.model import Model
from paretune.core.stamps import file_digest
from paretune.models.kinds.base import kind_named
from paretune.models.onnx_files import INSIDE, MAX_DEPTH, Field, Reader, external_files, opened

VERSION = 1
"""Part of each digest: another rule gives other digests."""
SMALL = 1024
"""Tensors below so many elements count by their values."""
_CONFIGURATION = "genai_config.json"
_DOCUMENTATION = {
    "ModelProto": 6,
    "GraphProto": 10,
    "NodeProto": 6,
    "AttributeProto": 13,
    "TensorProto": 12,
    "FunctionProto": 8,
}
_DIMS, _TYPE, _NAME, _RAW, _EXTERNAL = 1, 2, 8, 9, 13
_VALUES = frozenset({4, 5, 6, 7, _RAW, 10, 11})
"""Fields of a tensor that hold its values, one for each group of types."""
_INT64, _STRING, _BOOL = 7, 8, 9
_NO_WEIGHTS = frozenset({_INT64, _STRING, _BOOL})
_SPARSE_INDICES = 2
_QUANTIZED = frozenset({2, 3, *range(17, 24), 25, 26})
"""Types of quantized weights: 8 bits or fewer."""
_WITH_QUANTIZED = _QUANTIZED | {1, 10, 11, 16, 24}
"""Types of their scales and zero points."""
_NODE, _INITIALIZER, _INPUT = 1, 5, 1
_KEY, _VALUE = 1, 2
_CHUNK = 1 << 20


def structure_of(model: Model) -> str | None:
    """Return the digest of a model's structure, as its kind tells it.

    Returns:
        None if the kind tells none, or a file cannot be read: then nothing is shared.
    """
    try:
        tell = getattr(kind_named(model.kind), "structure", None)
        found: str | None = None if tell is None else tell(model)
        return found
    except (ParetuneError, OSError, ValueError):
        return None


def structure_of_files(model: Model) -> str:
    """Return the digest of a model's structure, by its files.

    Args:
        model: A folder with ONNX networks.

    Raises:
        UsageError: A network cannot be read.
        ValueError: Another file cannot be read as what it should be.
        OSError: A file is not there.
    """
    files = model.parts
    networks = [file for file in files if file.suffix == ".onnx"]
    weights = {file.parent / name for file in networks for name in external_files(file)}
    parts = [
        [file.relative_to(model.path).as_posix(), *_of_file(file, weights=file in weights)]
        for file in files
    ]
    content = canonical({"version": VERSION, "kind": str(model.kind), "files": sorted(parts)})
    return "sha256:" + hashlib.sha256(content.encode()).hexdigest()


def network_structure(file: Path) -> str:
    """Return the hex digest of the structure of one network.

    Args:
        file: An ONNX file.

    Raises:
        UsageError: It is not one.
        OSError: A file that holds values of small tensors is not there.
    """
    with opened(file) as data:
        walk = _Walk(Reader(data), file.parent)
        walk.message("ModelProto", 0, len(data))
        return walk.digest()


def adapter_structure(file: Path) -> str:
    """Return the hex digest of names, shapes and types in an adapter of ONNX Runtime.

    Args:
        file: A ``.onnx_adapter`` file, which is a FlatBuffer (``adapter_schema.fbs``).

    Raises:
        ValueError: It cannot be read.
    """
    try:
        found = sorted(_matrices(file.read_bytes()))
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: no adapter of ONNX Runtime: {error}") from error
    return hashlib.sha256(canonical(found).encode()).hexdigest()


def _of_file(file: Path, *, weights: bool) -> Sequence[str]:
    if weights:
        return "weights", str(file.stat().st_size)
    if file.suffix == ".onnx":
        return "network", network_structure(file)
    if file.suffix == ".onnx_adapter":
        return "adapter", adapter_structure(file)
    if file.name == _CONFIGURATION:
        return "settings", canonical(read_json(file))
    return "file", file_digest(file)


class _Tensor:
    """What is known of a tensor without its values.

    Args:
        reader: The network.
        field: Where it stands.
    """

    def __init__(self, reader: Reader, field: Field) -> None:
        self.fields = list(reader.fields(field.begin, field.end))
        self.kind = next((f.value for f in self.fields if f.number == _TYPE), 0)
        self.name = next((reader.text(f) for f in self.fields if f.number == _NAME), "")
        sides = [n for f in self.fields if f.number == _DIMS for n in _numbers(reader, f)]
        self.small = math.prod(sides) < SMALL


def _numbers(reader: Reader, field: Field) -> Iterator[int]:
    """Yield the numbers of a repeated field, packed or not."""
    if field.begin < 0:
        yield field.value
    at = field.begin
    while 0 <= at < field.end:
        value, at = reader.varint(at, field.end)
        yield value


class _Walk:
    """Digests one network.

    Args:
        reader: Its content.
        folder: Where its external files lie.
    """

    def __init__(self, reader: Reader, folder: Path) -> None:
        self._reader = reader
        self._folder = folder
        self._hash = hashlib.sha256()

    def digest(self) -> str:
        return self._hash.hexdigest()

    def message(self, message: str, start: int, end: int, depth: int = 1) -> None:
        """Add a message; those inside it that may lead to a tensor are gone into.

        Raises:
            ValueError: The message is malformed, or nested too deep.
        """
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} messages")
        fields = list(self._reader.fields(start, end))
        parts = self._parts_of_quantized(fields) if message == "GraphProto" else frozenset()
        for field in fields:
            if field.number == _DOCUMENTATION.get(message):
                continue
            inner = INSIDE[message].get(field.number)
            if inner is None or field.begin < 0:
                self._add(b"f", self._reader.data[field.start : field.end])
                continue
            self._mark(b"<%d" % field.number)
            if inner == "TensorProto":
                by_value = message == "SparseTensorProto" and field.number == _SPARSE_INDICES
                self._tensor(_Tensor(self._reader, field), parts, by_value=by_value)
            else:
                self.message(inner, field.begin, field.end, depth + 1)
            self._mark(b">")

    def _parts_of_quantized(self, graph: Sequence[Field]) -> frozenset[str]:
        """Return the names of the scales and zero points of large quantized matrices."""
        held = {
            tensor.name: tensor
            for tensor in (_Tensor(self._reader, f) for f in graph if f.number == _INITIALIZER)
        }
        parts: set[str] = set()
        for node in graph:
            if node.number != _NODE:
                continue
            fields = self._reader.fields(node.begin, node.end)
            inputs = {self._reader.text(f) for f in fields if f.number == _INPUT} & held.keys()
            if any(held[n].kind in _QUANTIZED and not held[n].small for n in inputs):
                parts |= {n for n in inputs if held[n].kind in _WITH_QUANTIZED}
        return frozenset(parts)

    def _tensor(self, tensor: _Tensor, parts: frozenset[str], *, by_value: bool) -> None:
        small = tensor.small and tensor.name not in parts
        by_value = by_value or small or tensor.kind in _NO_WEIGHTS
        place: dict[str, str] = {}
        for field in tensor.fields:
            if field.number == _DOCUMENTATION["TensorProto"]:
                continue
            if field.number == _EXTERNAL:
                place |= self._entry(field)
            elif field.number in _VALUES and not by_value:
                self._mark(b"v%d" % field.number)
            else:
                self._add(b"f", self._reader.data[field.start : field.end])
        place.pop("checksum", None)
        self._mark(canonical(place).encode())
        if by_value and place:
            for chunk in _read(self._folder, place):
                self._add(b"x", chunk)

    def _entry(self, field: Field) -> dict[str, str]:
        """Return an entry of a map as one."""
        texts = {
            f.number: self._reader.text(f)
            for f in self._reader.fields(field.begin, field.end)
            if f.begin >= 0
        }
        return {texts.get(_KEY, ""): texts.get(_VALUE, "")}

    def _mark(self, word: bytes) -> None:
        self._add(b"m", word)

    def _add(self, what: bytes, content: bytes | memoryview) -> None:
        self._hash.update(what + len(content).to_bytes(8, "little"))
        self._hash.update(content)


def _read(folder: Path, place: dict[str, str]) -> Iterator[bytes]:
    """Yield the values that lie outside of a network's file."""
    with open(folder / place.get("location", ""), "rb") as source:
        source.seek(int(place.get("offset") or 0))
        left = int(place["length"]) if place.get("length") else None
        while left is None or left > 0:
            chunk = source.read(_CHUNK if left is None else min(left, _CHUNK))
            if not chunk:
                return
            yield chunk
            left = None if left is None else left - len(chunk)


def _matrices(data: bytes) -> Iterator[tuple[str, tuple[int, ...], int]]:
    """Yield name, sides and type of each parameter in an adapter's FlatBuffer.

    A table begins with the distance back to its vtable, which holds the place of each field; a
    vector begins with its length; places are relative (https://flatbuffers.dev/internals).
    """

    def number(form: str, at: int) -> int:
        value: int = struct.unpack_from("<" + form, data, at)[0]
        return value

    def field(table: int, index: int) -> int | None:
        vtable = table - number("i", table)
        place = 4 + 2 * index
        offset = number("H", vtable + place) if place < number("H", vtable) else 0
        return table + offset if offset else None

    def follow(at: int | None) -> int:
        if at is None:
            raise IndexError("a field is missing")
        return at + number("I", at)

    if data[4:8] != b"TORT":
        raise IndexError("it does not begin as one")
    root = number("I", 0)
    listed = follow(field(root, 3))
    for n in range(number("I", listed)):
        table = follow(listed + 4 + 4 * n)
        name, dims, kind = follow(field(table, 0)), follow(field(table, 1)), field(table, 2)
        text = data[name + 4 : name + 4 + number("I", name)].decode("utf-8")
        sides = struct.unpack_from(f"<{number('I', dims)}q", data, dims + 4)
        yield text, sides, 0 if kind is None else number("i", kind)
