"""An ONNX model of one matrix product, written without the package onnx.

A device that only measures has ONNX Runtime and not necessarily onnx. The numbers are those of the
fields in ``onnx.proto``.
"""

from __future__ import annotations

from typing import Any

_ELEMENT = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6}
_IR_VERSION, _OPSET = 10, 21


def one_product(operator: str, weights: Any, left: str) -> bytes:
    """Return a model that multiplies its input ``left`` by constant weights.

    Args:
        operator: ``MatMul`` (fp32) or ``MatMulInteger`` (8 bits, sums in 32 bits).
        weights: A matrix, as a numpy array.
        left: Type of the input, as numpy calls it.
    """
    rows, columns = weights.shape
    result = "float32" if operator == "MatMul" else "int32"
    node = _text(1, "left") + _text(1, "right") + _text(2, "product") + _text(4, operator)
    initializer = b"".join(
        (
            _number(1, rows) + _number(1, columns) + _number(2, _ELEMENT[str(weights.dtype)]),
            _text(8, "right"),
            _message(9, weights.tobytes()),
        )
    )
    graph = b"".join(
        (
            _message(1, node),
            _text(2, "product"),
            _message(5, initializer),
            _message(11, _value("left", left, rows)),
            _message(12, _value("product", result, columns)),
        )
    )
    opset = _message(8, _text(1, "") + _number(2, _OPSET))
    return b"".join((_number(1, _IR_VERSION), _message(7, graph), opset))


def _value(name: str, kind: str, columns: int) -> bytes:
    """Return the description of an input or output with any number of rows."""
    shape = _message(1, _text(2, "rows")) + _message(1, _number(1, columns))
    tensor = _number(1, _ELEMENT[kind]) + _message(2, shape)
    return _text(1, name) + _message(2, _message(1, tensor))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())


def _message(field: int, content: bytes) -> bytes:
    return b"".join((_varint(field << 3 | 2), _varint(len(content)), content))


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
