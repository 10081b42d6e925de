"""Has a build's embedding read the rounded matrix of its head, where the builder cannot do that.

The builder shares a rounded matrix in some of its builds only: not with 8 bits, and where
``algorithm: default`` has zero points or an 8-bit head it names matrices that are not there. Here
the embedding's table, in fp32, is taken out of a finished build, and the lookup becomes that of
``GatherBlockQuantized`` on the head's codes and scales. For workers only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paretune.core.errors import PassError
from paretune.models.onnx_weights import load_network
from paretune.passes.genai.graph_file import GRAPH, rewrite
from paretune.passes.quantization.node_bits import product_of
from paretune.passes.quantization.rounding_grid import HEAD

_IDS = "input_ids"
_PLACE = "/model/embed_tokens"


def share_embedding(folder: Path) -> None:
    """Take a build's embedding out of its file, and have the head's matrix in its place.

    Args:
        folder: A build whose embedding is a table of its own; it is rewritten.

    Raises:
        PassError: Its embedding or its head is not where it is looked for.
    """
    network = load_network(folder / GRAPH)
    graph = network.graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    lookup = _only(
        node
        for node in graph.node
        if node.op_type == "Gather" and node.input[1] == _IDS and node.input[0] in held
    )
    head = _only(
        node
        for node in graph.node
        if node.op_type == "MatMulNBits" and product_of(node.name) == HEAD
    )
    table = held[lookup.input[0]]
    how = {attribute.name: attribute.i for attribute in head.attribute}
    if list(table.dims) != [how["N"], how["K"]]:
        raise PassError(
            f"genai: the embedding has the shape {list(table.dims)} and the head "
            f"{[how['N'], how['K']]}, so that they cannot share a matrix",
            hint="Leave out shared_embeddings.",
        )
    place = list(graph.node).index(lookup)
    graph.node.remove(lookup)
    graph.initializer.remove(table)
    for node in reversed(_lookup(head, how, lookup.output[0])):
        graph.node.insert(place, node)
    rewrite(network, folder)


def _only(nodes: Any) -> Any:
    found = list(nodes)
    if len(found) != 1:
        raise PassError(
            "genai: this build has no embedding of its own beside a rounded head, so that they "
            "cannot share a matrix",
            hint="Leave out shared_embeddings.",
        )
    return found[0]


def _lookup(head: Any, how: dict[str, int], output: str) -> list[Any]:
    """Return the nodes that look rows up in the head's matrix, as the builder makes them."""
    from onnx import helper

    block, width = how["block_size"], how["K"]
    filled = -(-width // block) * block
    whole = filled == width  # else a row's last block is filled up, and that is cut off again
    shape = _constant("shape", [how["N"], filled * how["bits"] // 8])
    rows, found = f"{_PLACE}/Reshape/output_0", f"{_PLACE}/GatherBlockQuantized/output_0"
    nodes = [
        shape,
        helper.make_node(
            "Reshape", [head.input[1], shape.output[0]], [rows], name=f"{_PLACE}/Reshape"
        ),
        helper.make_node(
            "GatherBlockQuantized",
            [rows, _IDS, *(name for name in head.input[2:4] if name)],
            [output if whole else found],
            name=f"{_PLACE}/GatherBlockQuantized",
            domain="com.microsoft",
            bits=how["bits"],
            block_size=block,
            gather_axis=0,
            quantize_axis=1,
        ),
    ]
    if whole:
        return nodes
    bounds = [_constant(name, [value]) for name, value in (("from", 0), ("to", width), ("on", -1))]
    inputs = [found, *(bound.output[0] for bound in bounds)]
    return [*nodes, *bounds, helper.make_node("Slice", inputs, [output], name=f"{_PLACE}/Slice")]


def _constant(name: str, values: list[int]) -> Any:
    from onnx import TensorProto, helper

    place = f"{_PLACE}/constants/{name}"
    value = helper.make_tensor(f"{place}/value", TensorProto.INT64, [len(values)], values)
    return helper.make_node("Constant", [], [f"{place}/output_0"], name=place, value=value)
