"""Gives some matrices of a 4-bit build 8 bits, in the builder's graph; for workers only.

A node, its codes and its zero points become those that the builder writes at 8 bits. An embedding
that reads the head's codes reads the wider ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from paretune.core.errors import InvalidArtifactError, PassError
from paretune.models.onnx_weights import load_network
from paretune.passes.genai.graph_file import GRAPH, rewrite
from paretune.passes.genai.quantized_nodes import open_build
from paretune.passes.quantization.grid import Grid, encode
from paretune.passes.quantization.node_bits import product_of
from paretune.passes.quantization.packing import packed


def widen(folder: Path, weights: Mapping[str, Any]) -> None:
    """Round some matrices of a build to 8 bits, and rewrite its files.

    Args:
        folder: The build; every rounded matrix has 4 bits.
        weights: By the names of their nodes, what they are rounded from: fp32, (outputs, inputs).

    Raises:
        InvalidArtifactError: What is in the file afterwards is not what was asked for.
    """
    if weights:
        _rewrite(folder, weights)
    require_bits(folder, dict.fromkeys(weights, 8))


def _rewrite(folder: Path, weights: Mapping[str, Any]) -> None:
    network = load_network(folder / GRAPH)
    graph = network.graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    lookups = [node for node in graph.node if node.op_type == "GatherBlockQuantized"]
    for node in [each for each in graph.node if each.op_type == "MatMulNBits"]:
        name = product_of(node.name)
        if name not in weights:
            continue
        _widen_matrix(node, held, weights[name])
        for lookup in lookups:
            if lookup.input[2] == node.input[2]:
                _widen_lookup(graph, lookup, node)
    rewrite(network, folder)


def require_bits(folder: Path, eight: Mapping[str, int]) -> None:
    """Require that the named matrices of a build have these bits, and all others 4.

    Raises:
        InvalidArtifactError: One has other bits, or is not there.
    """
    with open_build(folder) as build:
        found = {name: node.grid.bits for name, node in build.nodes.items()}
    wrong = sorted(name for name in {*found, *eight} if found.get(name) != eight.get(name, 4))
    if wrong:
        raise InvalidArtifactError(
            f"genai: budget: {wrong[0]} has {found.get(wrong[0], 'no')} bits in the build, "
            f"expected {eight.get(wrong[0], 4)}",
            hint="A bug of paretune, or another version of the model builder: report it.",
        )


def _widen_matrix(node: Any, held: Mapping[str, Any], weight: Any) -> None:
    how = {attribute.name: attribute for attribute in node.attribute}
    four = Grid(how["bits"].i, how["block_size"].i, symmetric=not any(node.input[3:4]))
    eight = replace(four, bits=8)
    parts = packed(encode(weight, eight), eight)
    old = node.input[1]
    codes = held[old]
    codes.name = _wide(old)
    node.input[1] = codes.name
    node.name = f"{product_of(node.name)}_Q8"
    how["bits"].i = 8
    _fill(codes, parts.codes)
    _fill(held[node.input[2]], parts.scales)
    if parts.zero_points is not None:
        _fill(held[node.input[3]], parts.zero_points)


def _widen_lookup(graph: Any, lookup: Any, head: Any) -> None:
    """Have an embedding's lookup read the codes of a head that was widened."""
    from onnx import TensorProto, helper

    place = next(i for i, n in enumerate(graph.node) if lookup.input[0] in n.output)
    reshape = graph.node[place]
    if reshape.op_type != "Reshape" or _wide(reshape.input[0]) != head.input[1]:
        raise PassError(
            "genai: budget: how the embedding of this build reads the head's matrix is not known",
            hint="Give shared_embeddings: false.",
        )
    how = {attribute.name: attribute.i for attribute in head.attribute}
    filled = -(-how["K"] // how["block_size"]) * how["block_size"]
    name = f"{reshape.name}/shape_of_8_bits"
    shape = helper.make_tensor(f"{name}/value", TensorProto.INT64, [2], [how["N"], filled])
    constant = helper.make_node("Constant", [], [f"{name}/output_0"], name=name, value=shape)
    reshape.input[0] = head.input[1]
    reshape.input[1] = constant.output[0]
    next(attribute for attribute in lookup.attribute if attribute.name == "bits").i = 8
    graph.node.insert(place, constant)


def _wide(codes: str) -> str:
    """Return the builder's name of codes at 8 bits."""
    return codes.replace("_Q4", "_Q8")


def _fill(tensor: Any, values: Any) -> None:
    del tensor.dims[:]
    tensor.dims.extend(values.shape)
    tensor.raw_data = values.contiguous().numpy().tobytes()
