"""Whether ONNX Runtime has the operators of a network, by their domains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from paretune.models.checks.finding import Finding
from paretune.models.onnx_files import INSIDE, MAX_DEPTH, Reader, opened

KNOWN = frozenset(
    {
        "",
        "ai.onnx",
        "ai.onnx.ml",
        "ai.onnx.preview.training",
        "ai.onnx.training",
        "com.microsoft",
        "com.microsoft.experimental",
        "com.microsoft.nchwc",
        "com.ms.internal.nhwc",
        "org.pytorch.aten",
    }
)
"""Domains that ONNX Runtime registers itself (``core/graph/constants.h``, 1.32)."""
# Fields of NodeProto and FunctionProto (onnx.proto, ONNX 1.23).
_NODE_OPERATOR, _NODE_DOMAIN, _FUNCTION_DOMAIN = 4, 7, 10
_GRAPHS = frozenset({"GraphProto", "NodeProto", "AttributeProto", "FunctionProto"})


def foreign_operators(file: Path) -> Iterator[Finding]:
    """Yield each domain of operators that ONNX Runtime lacks and the network does not define.

    Args:
        file: An ONNX file.

    Raises:
        UsageError: It is not one, or unreasonably large or deep.
    """
    used: dict[str, str] = {}
    defined: set[str] = set()
    with opened(file) as data:
        _collect(Reader(data), "ModelProto", 0, len(data), used, defined)
    for domain, operator in used.items():
        if domain not in KNOWN | defined:
            yield Finding(
                f"the network has the operator {operator!r} of the domain {domain!r}, which ONNX "
                "Runtime does not have",
                "Export it with standard operators, or as a function of the network: libraries of "
                "custom operators are not loaded.",
            )


def _collect(
    reader: Reader,
    message: str,
    start: int,
    end: int,
    used: dict[str, str],
    defined: set[str],
    depth: int = 1,
) -> None:
    """Note the domains of nodes, each with an operator, and those of the network's functions.

    Raises:
        ValueError: The message is malformed, or nested too deep.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} messages")
    domain = operator = ""
    for field in reader.fields(start, end):
        if field.begin < 0:
            continue
        if message == "NodeProto" and field.number in (_NODE_DOMAIN, _NODE_OPERATOR):
            text = reader.text(field)
            domain, operator = (text, operator) if field.number == _NODE_DOMAIN else (domain, text)
        elif message == "FunctionProto" and field.number == _FUNCTION_DOMAIN:
            defined.add(reader.text(field))
        inner = INSIDE[message].get(field.number)
        if inner in _GRAPHS:
            _collect(reader, inner, field.begin, field.end, used, defined, depth + 1)
    if message == "NodeProto":
        used.setdefault(domain, operator)
