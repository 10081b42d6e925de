"""Whether a network takes and gives arrays of types that numpy has, of a known number of axes."""

from __future__ import annotations

from collections.abc import Iterator

from paretune.models.checks.finding import Finding
from paretune.models.onnx_signature import Signature, Value

_NUMBERS = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13})
"""Types of ``TensorProto.DataType`` that numpy has: integers of 8 to 64 bits, bool, floats."""
_TEXT = 8
_NAMES = {
    0: "a sequence, a map or an optional value",
    _TEXT: "text",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
    21: "uint4",
    22: "int4",
}


def unusable(network: Signature) -> Iterator[Finding]:
    """Yield each input that no array can be given for, and the lack of outputs that are arrays.

    Args:
        network: What it takes and gives.
    """
    for name, value in network.inputs.items():
        if value.element not in _NUMBERS:
            yield Finding(
                f"the network's input {name!r} is {_named(value)}, expected an array of numbers "
                "of a type that numpy has",
                "Export the network without what makes this input from numbers, or with a "
                "conversion (Cast) after it.",
            )
        elif value.shape is None:
            yield Finding(
                f"the network does not say how many axes its input {name!r} has",
                "Export it with the shapes of its inputs; sizes may be open.",
            )
    if not any(each.element in _NUMBERS | {_TEXT} for each in network.outputs.values()):
        told = ", ".join(f"{name!r} ({_named(v)})" for name, v in network.outputs.items())
        yield Finding(
            f"none of the network's outputs is an array of a type that numpy has: {told or 'none'}",
            "Export it with an output that is an array of numbers.",
        )


def _named(value: Value) -> str:
    return _NAMES.get(value.element, f"of the type {value.element} of TensorProto.DataType")
