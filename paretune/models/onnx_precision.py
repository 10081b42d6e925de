"""In which types an ONNX network keeps its weights: read from its message, without any library."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from paretune.models.onnx_files import INSIDE, MAX_DEPTH, Field, Reader, opened

_FLOATS = {1: "fp32", 10: "fp16", 11: "fp64", 16: "bf16"}
_SMALL = frozenset({2, 3, 17, 18, 19, 20, 21, 22, 23, 25, 26})
"""Types of ``TensorProto.DataType`` of 8 bits and fewer; bool is none of them."""
_LEAST = 32
"""Fewer small numbers are zero points of inputs, not weights."""
_QUANTIZED = ("Q", "DequantizeLinear", "DynamicQuantize", "GatherBlockQuantized")
_INTEGER_PRODUCTS = ("MatMulInteger", "ConvInteger", "MatMulNBits", "MatMulBnb4", "MatMulFpQ4")
# Fields of NodeProto and TensorProto (onnx.proto, ONNX 1.23).
_OPERATOR, _DIMS, _DATA_TYPE = 4, 1, 2


def precision_of(file: Path) -> str:
    """Return ``quantized``, or the type of floats that most weights have; ``fp32`` without any.

    Quantized is a network with small whole numbers as weights and operators that take such.

    Args:
        file: An ONNX file.

    Raises:
        UsageError: It is not one, or unreasonably large or deep.
    """
    values: Counter[int] = Counter()
    operators: set[str] = set()
    with opened(file) as data:
        _collect(Reader(data), "ModelProto", 0, len(data), values, operators)
    small = max((values[kind] for kind in _SMALL), default=0)
    if small >= _LEAST and any(
        op.startswith((*_QUANTIZED, *_INTEGER_PRODUCTS)) for op in operators
    ):
        return "quantized"
    found = max(_FLOATS, key=lambda kind: values[kind])
    return _FLOATS[found]


def _collect(
    reader: Reader,
    message: str,
    start: int,
    end: int,
    values: Counter[int],
    operators: set[str],
    depth: int = 1,
) -> None:
    """Count the stored values of each type, and note the operators.

    Raises:
        ValueError: The message is malformed, or nested too deep.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} messages")
    sizes, kind = [], 0
    for field in reader.fields(start, end):
        if message == "TensorProto":
            if field.number == _DIMS:
                sizes += _numbers(reader, field)
            elif field.number == _DATA_TYPE:
                kind = field.value
            continue
        if message == "NodeProto" and field.number == _OPERATOR and field.begin >= 0:
            operators.add(reader.text(field))
        inner = INSIDE[message].get(field.number)
        if inner is not None and field.begin >= 0:
            _collect(reader, inner, field.begin, field.end, values, operators, depth + 1)
    if message == "TensorProto":
        values[kind] += math.prod(sizes)


def _numbers(reader: Reader, field: Field) -> list[int]:
    """Return the numbers of a field, one or packed."""
    if field.begin < 0:
        return [field.value]
    found, at = [], field.begin
    while at < field.end:
        number, at = reader.varint(at, field.end)
        found.append(number)
    return found
