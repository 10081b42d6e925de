"""Which inputs of an ONNX network pick rows of stored tables, and how many rows there are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

_THROUGH = frozenset(
    {"Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Slice", "Transpose"}
)
"""Operators whose output has values of their first input only."""
_EMBED = "EmbedLayerNormalization"


def index_limits(file: Path) -> dict[str, int]:
    """Return, of each input that picks rows of a stored table, the rows of the smallest one.

    Indices below that number are valid. Inputs of subgraphs are not followed.

    Args:
        file: The network; its weights are not read.
    """
    import onnx

    graph = onnx.load(str(file), load_external_data=False).graph
    tables = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    tables |= {
        node.output[0]: list(attribute.t.dims)
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    origin = {each.name: each.name for each in graph.input if each.name not in tables}
    found: dict[str, int] = {}
    for node in graph.node:
        if node.op_type in _THROUGH and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        for indices, table, axis in _lookups(node):
            name, shape = origin.get(indices), tables.get(table)
            if name is not None and shape:
                found[name] = min(found.get(name, shape[axis]), shape[axis])
    return found


def _lookups(node: Any) -> Iterator[tuple[str, str, int]]:
    """Yield the names of indices and table, and the axis, of each lookup that a node makes."""
    if node.op_type == "Gather":
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        yield node.input[1], node.input[0], axis
    elif node.op_type == _EMBED:  # fused: token and segment ids, then the tables of both
        yield node.input[0], node.input[2], 0
        if len(node.input) > 4:
            yield node.input[1], node.input[4], 0
