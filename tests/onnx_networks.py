"""Small real ONNX networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def network_weights(
    width: int = 8, classes: int = 3, seed: int = 0
) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Return the weights of both layers of `write_network`, which have no bias."""
    draw = np.random.default_rng(seed)
    return {
        "w1": draw.normal(size=(width, 16)).astype(np.float32),
        "w2": draw.normal(size=(16, classes)).astype(np.float32),
    }


def write_network(folder: Path, width: int = 8, classes: int = 3, seed: int = 0) -> Path:
    """Write a classifier of two layers, ``x`` (any number of rows) to ``y``; returns the folder."""
    weights = network_weights(width, classes, seed)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w1"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("MatMul", ["r", "w2"], ["y"]),
        ],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", classes])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    folder.mkdir(parents=True, exist_ok=True)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), folder / "model.onnx")
    return folder


def write_memory(folder: Path) -> Path:
    """Write a network that adds its input ``x`` to its state, and gives twice the sum as ``y``.

    The state ``before`` comes back as ``after``; ``count`` holds integers, ``last`` has one axis.
    """
    nodes = [
        helper.make_node("Add", ["x", "before"], ["after"]),
        helper.make_node("Add", ["after", "after"], ["y"]),
        helper.make_node("Cast", ["after"], ["count"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["after", "axis"], ["last"], keepdims=0),
    ]
    given = {"x": ["batch", None], "before": ["batch", 3]}
    results = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3]),
        helper.make_tensor_value_info("after", TensorProto.FLOAT, ["batch", 3]),
        helper.make_tensor_value_info("count", TensorProto.INT64, ["batch", 3]),
        helper.make_tensor_value_info("last", TensorProto.FLOAT, ["batch"]),
    ]
    graph = helper.make_graph(
        nodes,
        "memory",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in given.items()],
        results,
        [numpy_helper.from_array(np.array([1], np.int64), "axis")],
    )
    folder.mkdir(parents=True, exist_ok=True)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), folder / "model.onnx")
    return folder


def write_identity(folder: Path, rank: int) -> Path:
    """Write a network that gives its input ``x`` as ``y``: floats with axes of any size."""
    axes = [f"axis{n}" for n in range(rank)]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, axes)],
    )
    folder.mkdir(parents=True, exist_ok=True)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), folder / "model.onnx")
    return folder
