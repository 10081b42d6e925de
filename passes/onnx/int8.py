"""What the passes share that quantize a plain ONNX network to 8 bits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from paretune.core.fidelity import Fidelity
from paretune.core.model import ModelInfo, ModelKind
from paretune.core.params import Params, parameter
from paretune.passes.base import PassBase
from paretune.passes.onnx.network import STANDARD, check_nodes, check_operators


class Int8Params(Params):
    """Names and meanings are those of ``onnxruntime.quantization``."""

    weight_type: Literal["QInt8", "QUInt8"] = parameter("QInt8", "Type of the stored weights.")
    per_channel: bool = parameter(False, "One scale per output channel instead of per tensor.")
    reduce_range: bool = parameter(
        False, "7-bit weights, which processors with AVX2 or AVX-512 without VNNI need."
    )
    op_types_to_quantize: list[str] = parameter(
        [], "Operators that are quantized, such as MatMul; empty: all that can be.", search="none"
    )
    nodes_to_exclude: list[str] = parameter(
        [],
        "Names of nodes that keep their precision; a node without a name is called by its operator "
        "and place (MatMul_12).",
        search="none",
    )


class Int8Pass(PassBase):
    """What a pass to 8 bits says of itself; a subclass checks, estimates and runs."""

    accepts = frozenset({ModelKind.ONNX})
    produces = ModelKind.ONNX
    packages = ("onnxruntime", "onnx")

    def fidelity(self, params: Any) -> Fidelity:
        """Return that it approximates."""
        return Fidelity.QUANTIZED

    def predict(self, model: ModelInfo, params: Any) -> ModelInfo:
        """Return the facts of a network in 8 bits."""
        return replace(super().predict(model, params), precision="int8")


def excluded(name: str, params: Int8Params, network: Any) -> list[str]:
    """Return the nodes that keep their precision: those that are named, and what breaks.

    The quantizer takes the standard operator ``Attention`` (opset 23) for ONNX Runtime's own of
    that name, and makes of it what does not load.

    Args:
        name: The pass.
        params: Its parameters.
        network: What it quantizes; every node has a name.

    Raises:
        PassError: A node or operator that is named is not there.
    """
    check_nodes(name, "nodes_to_exclude", params.nodes_to_exclude, network)
    check_operators(name, "op_types_to_quantize", params.op_types_to_quantize, network)
    mistaken = [
        node.name
        for node in network.graph.node
        if node.op_type == "Attention" and node.domain in STANDARD
    ]
    return [*params.nodes_to_exclude, *mistaken]


def not_quantized(name: str) -> str:
    """Return the message of a pass that changed nothing."""
    return f"{name}: nothing in this network was quantized"
