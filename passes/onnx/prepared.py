"""A network as it is quantized statically: optimized by the library, its types known."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from paretune.core.errors import PassError
from paretune.models.onnx_weights import load_network
from paretune.passes.onnx.network import is_large, library, name_nodes, opset_of, write
from paretune.passes.onnx.tensor_types import declare_types

_PER_CHANNEL_OPSET = 13
"""From which ``DequantizeLinear`` has an axis."""


def prepared(name: str, network: Any, folder: Path, *, per_channel: bool) -> Any:
    """Return a network as ``quant_pre_process`` makes it.

    Symbolic shapes are not inferred: that fails on graphs of PyTorch's newer exporter, and the
    types that quantization needs are those of a session.

    Args:
        name: The pass.
        network: What is to be quantized; every node has a name.
        folder: An empty folder for copies.
        per_channel: Whether weights get a scale per channel, which wants a later opset and biases
            with one axis.

    Raises:
        PassError: The library fails.
    """
    import onnx
    import onnx.version_converter
    from onnxruntime.quantization import quant_pre_process

    if per_channel and opset_of(network) < _PER_CHANNEL_OPSET:
        with library(
            name, f"the conversion to opset {_PER_CHANNEL_OPSET}, for scales per channel,"
        ):
            network = onnx.version_converter.convert_version(network, _PER_CHANNEL_OPSET)
    source, target = folder / "source.onnx", folder / "prepared.onnx"
    write(network, source)
    with library(name, "quant_pre_process"):
        quant_pre_process(
            str(source),
            str(target),
            skip_symbolic_shape=True,
            save_as_external_data=is_large(network),
        )
    made = load_network(target)
    name_nodes(made.graph)
    _flatten_biases(made.graph)
    declare_types(made, folder)
    return made


def _flatten_biases(graph: Any) -> None:
    """Give the biases of products one axis, which the quantizer takes for granted."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        bias = stored.get(node.input[2]) if node.op_type == "Gemm" and len(node.input) > 2 else None
        if bias is not None and len(bias.dims) == 2 and bias.dims[0] == 1:
            graph.initializer.add().CopyFrom(bias)
            flat = graph.initializer[-1]
            flat.name = f"{node.name}_bias"
            del flat.dims[0]
            node.input[2] = flat.name


def check_left(name: str, wanted: Iterable[str], network: Any) -> None:
    """Refuse nodes that the preparation merged into others: they would be quantized all the same.

    Raises:
        PassError: Such a node is named.
    """
    names = {node.name for node in network.graph.node}
    gone = sorted(set(wanted) - names)
    if gone:
        raise PassError(
            f"{name}: nodes_to_exclude: {gone[0]!r} is merged into another node before the network "
            "is quantized",
            hint="Put onnx_optimize before it, and name nodes of what that makes; or leave out "
            "operators by op_types_to_quantize.",
        )
