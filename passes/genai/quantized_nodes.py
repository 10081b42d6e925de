"""The rounded matrices of a build: read, and written over in place; for workers only.

Only codes, scales and zero points change: the graph stays as it is, and so does the time that it
takes.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from paretune.core.errors import PassError
from paretune.passes.quantization.grid import Encoded, Grid
from paretune.passes.quantization.node_bits import product_of
from paretune.passes.quantization.packing import Packed, packed, unpacked
from paretune.passes.quantization.rounding_grid import HEAD

_FP32, _UINT8 = 1, 2
"""ONNX's numbers of the types of tensors."""


@dataclass(frozen=True)
class QuantizedNode:
    """A ``MatMulNBits`` of a build.

    Attributes:
        name: The product's name before it was rounded (``/lm_head/MatMul``).
        grid: What its matrix is rounded to.
        rows: Outputs.
        width: Inputs.
        tensors: Names of its codes, its scales and, if there are any, its zero points.
    """

    name: str
    grid: Grid
    rows: int
    width: int
    tensors: tuple[str, ...]


class QuantizedBuild:
    """The rounded matrices of a build, by the names of their products.

    Attributes:
        nodes: Each ``MatMulNBits``.
        shares_embedding: Whether the head's codes are the embedding's too.
    """

    def __init__(self, graph: Any, data: Mapping[str, Any]) -> None:
        self.nodes = {
            node.name: node
            for node in (_node(each) for each in graph.node if each.op_type == "MatMulNBits")
        }
        head = self.nodes.get(HEAD)
        self.shares_embedding = head is not None and any(
            node.op_type == "GatherBlockQuantized" and node.input[2] == head.tensors[1]
            for node in graph.node
        )
        self._data = data

    def read(self, name: str) -> Encoded:
        """Return a product's matrix."""
        node = self.nodes[name]
        codes, scales, *zero_points = (self._data[tensor].clone() for tensor in node.tensors)
        scales = scales.view(torch.float32).view(node.rows, -1)
        held = Packed(
            codes.view(node.rows, scales.shape[1], -1),
            scales,
            zero_points[0].view(node.rows, -1) if zero_points else None,
        )
        return unpacked(held, node.grid, node.width)

    def write(self, name: str, encoded: Encoded) -> None:
        """Write a product's matrix over the one that is there."""
        node = self.nodes[name]
        held = packed(encoded, node.grid)
        parts = (held.codes, held.scales, held.zero_points)
        for tensor, part in zip(node.tensors, parts, strict=False):
            self._data[tensor].copy_(part.contiguous().view(-1).view(torch.uint8))


@contextmanager
def open_build(folder: Path) -> Iterator[QuantizedBuild]:
    """Yield the rounded matrices of a build; what is written is in its file afterwards.

    Args:
        folder: The build's, with its weights in a file beside the graph.

    Raises:
        PassError: A matrix is held in a way that is not known here.
    """
    import onnx

    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    wanted = [n for each in graph.node if each.op_type == "MatMulNBits" for n in each.input[1:4]]
    tensors = [held[name] for name in wanted if name]
    if not tensors:
        raise PassError(
            "genai: the builder has rounded no matrix of this model",
            hint="Leave out algorithm gptq.",
        )
    places = [{entry.key: entry.value for entry in tensor.external_data} for tensor in tensors]
    files = {place.get("location") for place in places}
    types = {tensor.data_type for tensor in tensors}
    if len(files) != 1 or None in files or not types <= {_FP32, _UINT8}:
        raise PassError(
            "genai: codes and scales of this build are not fp32 and bytes in one file, and gptq "
            "writes over such only",
            hint="Use another algorithm, and report the architecture.",
        )
    with (folder / str(files.pop())).open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        data = {
            tensor.name: torch.frombuffer(
                mapped,
                dtype=torch.uint8,
                count=int(place["length"]),
                offset=int(place["offset"]),
            )
            for tensor, place in zip(tensors, places, strict=True)
        }
        build = QuantizedBuild(graph, data)
        try:
            yield build
        finally:
            data.clear()  # a mapping with tensors on it cannot be closed
            mapped.flush()


def _node(node: Any) -> QuantizedNode:
    attributes = {each.name: each.i for each in node.attribute}
    tensors = tuple(name for name in node.input[1:4] if name)
    grid = Grid(attributes["bits"], attributes["block_size"], symmetric=len(tensors) == 2)
    return QuantizedNode(product_of(node.name), grid, attributes["N"], attributes["K"], tensors)
