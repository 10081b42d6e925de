"""What an ONNX network takes and gives: read from its protobuf message, without any library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from paretune.models.onnx_files import Field, Reader, opened

Size = int | str | None
"""A fixed size, the name of a symbolic one, or None: any size."""

# Fields of ModelProto, GraphProto, ValueInfoProto, TypeProto and below (onnx.proto, ONNX 1.23).
_GRAPH, _INITIALIZER, _INPUT, _OUTPUT = 7, 5, 11, 12
_NAME, _TYPE = 1, 2
_TENSOR, _ELEMENT, _SHAPE, _DIMENSION, _VALUE, _PARAMETER = 1, 1, 2, 1, 1, 2
_TENSOR_NAME = 8


@dataclass(frozen=True)
class Signature:
    """Names, types and shapes.

    Attributes:
        inputs: By name; weights that older files list among the inputs are left out.
        outputs: By name.
    """

    inputs: Mapping[str, Value]
    outputs: Mapping[str, Value]


@dataclass(frozen=True)
class Value:
    """An input or an output.

    Attributes:
        element: Number of its type in ``TensorProto.DataType``; 0 if it is not a tensor.
        shape: None: the network does not say even how many axes there are.
    """

    element: int
    shape: tuple[Size, ...] | None

    def open_sizes(self, name: str) -> dict[str, int]:
        """Return the axes whose size is not fixed, by the name that ``sizes`` has for them.

        Args:
            name: The input's.

        Returns:
            The first axis of each: a symbolic name, or ``INPUT[AXIS]`` where there is none.
        """
        found: dict[str, int] = {}
        for axis, size in enumerate(self.shape or ()):
            if not isinstance(size, int):
                found.setdefault(size or f"{name}[{axis}]", axis)
        return found


def signature_of(file: Path) -> Signature:
    """Return what a network takes and gives.

    Args:
        file: An ONNX file.

    Raises:
        UsageError: It is not one, or unreasonably large.
    """
    with opened(file) as data:
        reader = Reader(data)
        weights: set[str] = set()
        found: dict[int, dict[str, Value]] = {_INPUT: {}, _OUTPUT: {}}
        for graph in _inside(_GRAPH, reader.fields(0, len(data))):
            for field in reader.fields(graph.begin, graph.end):
                if field.number in found and field.begin >= 0:
                    name, value = _value(reader, field)
                    found[field.number][name] = value
                elif field.number == _INITIALIZER and field.begin >= 0:
                    inner = reader.fields(field.begin, field.end)
                    weights.update(map(reader.text, _inside(_TENSOR_NAME, inner)))
    inputs = {name: value for name, value in found[_INPUT].items() if name not in weights}
    return Signature(inputs, found[_OUTPUT])


def _inside(number: int, fields: Iterable[Field]) -> Iterator[Field]:
    """Yield the messages and texts of a number among fields."""
    return (field for field in fields if field.number == number and field.begin >= 0)


def _below(reader: Reader, field: Field, number: int) -> Iterator[Field]:
    return _inside(number, reader.fields(field.begin, field.end))


def _value(reader: Reader, field: Field) -> tuple[str, Value]:
    name = "".join(map(reader.text, _below(reader, field, _NAME)))
    element, shape = 0, None
    for kind in _below(reader, field, _TYPE):
        for tensor in _below(reader, kind, _TENSOR):
            for part in reader.fields(tensor.begin, tensor.end):
                if part.number == _ELEMENT:
                    element = part.value
                elif part.number == _SHAPE and part.begin >= 0:
                    shape = tuple(_size(reader, d) for d in _below(reader, part, _DIMENSION))
    return name, Value(element, shape)


def _size(reader: Reader, field: Field) -> Size:
    found: Size = None
    for part in reader.fields(field.begin, field.end):
        if part.number == _VALUE:
            found = part.value
        elif part.number == _PARAMETER and part.begin >= 0:
            found = reader.text(part) or None
    return found
