"""What an ONNX Runtime GenAI folder reads and computes for a token, counted on its graph.

Before a build this is predicted from the architecture (`paretune.core.traffic`). A
folder that was built elsewhere does not say how; its graph says what it multiplies. Runs in a
worker: it imports onnx.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from paretune.core.jsontools import Json, read_json

_PRODUCTS = ("MatMul", "Gemm", "MatMulNBits")
_SPARSE = ("MoE", "QMoE")
_CACHE_SIDES = ("num_hidden_layers", "num_key_value_heads", "head_size")


def count(folder: str) -> dict[str, Json] | None:
    """Return what the decoder of a GenAI folder reads and computes, at the least.

    Args:
        folder: A folder with a ``genai_config.json``.

    Returns:
        The fields of `paretune.core.traffic.Traffic`, and ``cache_bytes``: read for a decoded
        token for each token before it. None if some of its matrices are not read for every token
        (a mixture of experts), or none was found.
    """
    import onnx

    decoder = read_json(Path(folder, "genai_config.json"))["model"]["decoder"]
    model = onnx.load(Path(folder, decoder["filename"]), load_external_data=False)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    outputs = {output.name for output in graph.output}
    read, each, once, exact = dict[str, int](), 0, 0, True
    for node in graph.node:
        if node.op_type in _SPARSE:
            return None
        held = [weights[name] for name in node.input if name in weights]
        if node.op_type not in _PRODUCTS or not any(len(tensor.dims) > 1 for tensor in held):
            continue
        read |= {tensor.name: _bytes(tensor) for tensor in held}
        operations = 2 * _weights(node, held)
        if outputs & set(node.output):  # the head: done for a prompt's last token only
            once += operations
        else:
            each += operations
        exact = exact and all(tensor.data_type == onnx.TensorProto.FLOAT for tensor in held)
    if not read:
        return None
    return {
        "bytes_per_token": sum(read.values()),
        "operations_per_prompt_token": each,
        "operations_per_prompt": once,
        "arithmetic": "fp32" if exact else None,
        "cache_bytes": _cache(decoder, graph.input),
    }


def _bytes(tensor: Any) -> int:
    from onnx import helper

    width = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return int(math.prod(tensor.dims) * width)


def _weights(node: Any, held: list[Any]) -> int:
    """Return how many weights a matrix has; of packed ones the node's attributes say it."""
    if node.op_type == "MatMulNBits":
        sides = {attribute.name: attribute.i for attribute in node.attribute}
        return int(sides["K"] * sides["N"])
    return int(max(math.prod(tensor.dims) for tensor in held))


def _cache(decoder: Mapping[str, Json], inputs: Iterable[Any]) -> int:
    """Return the bytes of keys and values of one token; 0 where the folder does not tell."""
    from onnx import helper

    first = str(decoder.get("inputs", {}).get("past_key_names", "")).replace("%d", "0")
    kinds = [value.type.tensor_type.elem_type for value in inputs if value.name == first]
    sides = [side for side in map(decoder.get, _CACHE_SIDES) if isinstance(side, int)]
    if not kinds or len(sides) < len(_CACHE_SIDES):
        return 0
    return int(2 * math.prod(sides) * helper.tensor_dtype_to_np_dtype(kinds[0]).itemsize)
