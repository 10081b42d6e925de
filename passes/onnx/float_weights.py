"""Keeps weights in fp32 that ONNX Runtime would quantize when it loads a network."""

from __future__ import annotations

from typing import Any

_QUANTIZED_AT_LOADING = frozenset({"Conv", "ConvTranspose", "Gemm"})


def shield_float_weights(graph: Any) -> bool:
    """Put a node that copies its input before each product that keeps its weights.

    Where a convolution or `Gemm` with weights in fp32 is given a dequantized value, a session of
    ONNX Runtime quantizes the weights itself, per tensor (its optimizer ``WeightBiasQuantization``,
    seen in 1.32). What was excluded because 8 bits harm it would be harmed all the same, and more
    than per channel. A ``Sum`` of one value ends that pattern; an ``Identity`` is removed first.

    Args:
        graph: Of a network with ``QuantizeLinear`` and ``DequantizeLinear``; it is changed.

    Returns:
        Whether there was such a node.
    """
    from onnx import TensorProto, helper

    floats = {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    dequantized = {
        name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output
    }
    found = [
        (place, node)
        for place, node in enumerate(graph.node)
        if node.op_type in _QUANTIZED_AT_LOADING
        and node.input[0] in dequantized
        and node.input[1] in floats
    ]
    for place, node in reversed(found):
        copied = f"{node.input[0]}_for_{node.name}"
        copy = helper.make_node("Sum", [node.input[0]], [copied], name=f"{node.name}_in_fp32")
        node.input[0] = copied
        graph.node.insert(place, copy)
    return bool(found)
