"""A network says itself in which type its weights are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from paretune.models.handle import inspect


def write(folder: Path, nodes: list[Any], weights: dict[str, Any]) -> Path:
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in "xy"]
    graph = helper.make_graph(nodes, "network", info[:1], info[1:], stored)
    onnx.save(helper.make_model(graph, ir_version=10), folder / "model.onnx")
    return folder


@pytest.mark.parametrize(
    ("type", "precision"),
    [("float32", "fp32"), ("float16", "fp16"), ("float64", "fp64"), ("int64", "fp32")],
)
@pytest.mark.parametrize("constant", [False, True])
def test_most_weights_decide(tmp_path: Path, type: str, precision: str, constant: bool) -> None:
    weights = {"few": np.ones(10, np.float32), "many": np.ones((8, 8), type)}
    nodes = [helper.make_node("Add", ["x", "few"], ["y"])]
    if constant:
        value = numpy_helper.from_array(weights.pop("many"))
        nodes.append(helper.make_node("Constant", [], ["many"], value=value))
    assert inspect(write(tmp_path, nodes, weights)).precision == precision


@pytest.mark.parametrize("operator", ["DequantizeLinear", "MatMulInteger", "QLinearConv"])
def test_small_numbers_with_their_operators_are_quantized(tmp_path: Path, operator: str) -> None:
    nodes = [helper.make_node(operator, ["x", "w"], ["y"])]
    table = np.ones(5000, np.float32)  # an embedding that stays may be the largest
    folder = write(tmp_path, nodes, {"w": np.ones(64, np.int8), "table": table})
    assert inspect(folder).precision == "quantized"
    # A zero point alone is that of an image, and small numbers may be a mask.
    assert inspect(write(tmp_path, nodes, {"zero": np.ones(1, np.uint8)})).precision == "fp32"
    nodes = [helper.make_node("Cast", ["w"], ["y"], to=TensorProto.FLOAT)]
    assert inspect(write(tmp_path, nodes, {"w": np.ones(64, np.int8)})).precision == "fp32"
