"""A network in 16 bits computes the same, takes what it took, and keeps what is blocked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from paretune.core.errors import PassError
from paretune.core.model import Model
from paretune.models.handle import open_model
from paretune.passes.onnx.float16 import OnnxFloat16


@pytest.mark.parametrize(
    ("keep", "kind"), [(True, TensorProto.FLOAT), (False, TensorProto.FLOAT16)]
)
def test_it_computes_the_same_in_half_the_size(
    build: Callable[..., Any], two_products: Model, keep: bool, kind: int
) -> None:
    built = build(OnnxFloat16(), two_products, {"keep_io_types": keep})
    assert {t.data_type for t in built.graph.initializer} == {TensorProto.FLOAT16}
    ends = (*built.graph.input, *built.graph.output)
    assert {each.type.tensor_type.elem_type for each in ends} == {kind}
    assert 0 < built.error < 0.01
    assert (built.folder / "labels.txt").is_file()


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"op_block_list": ["BiasGelu"]},
        {"op_block_list": ["LayerNormalization"]},
        {"node_block_list": ["second"]},
    ],
    ids=str,
)
def test_what_is_blocked_in_a_fused_network_loads(
    build: Callable[..., Any], fused: Model, params: dict[str, Any]
) -> None:
    built = build(OnnxFloat16(), fused, params)
    assert built.error < 0.01
    kept = {t.name: t.data_type for t in built.graph.initializer}
    blocked = params.get("node_block_list") == ["second"]
    assert kept["w2"] == (TensorProto.FLOAT if blocked else TensorProto.FLOAT16)


def test_a_network_without_floats_and_names_that_are_not_there(
    build: Callable[..., Any],
    two_products: Model,
) -> None:
    with pytest.raises(PassError, match="node_block_list: the network has no node named 'third'"):
        build(OnnxFloat16(), two_products, {"node_block_list": ["third"]})
    with pytest.raises(PassError, match="op_block_list: the network has no operator 'Gelu'"):
        build(OnnxFloat16(), two_products, {"op_block_list": ["Gelu"]})
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "integers",
        [info("x", TensorProto.INT64, [4])],
        [info("y", TensorProto.INT64, [4])],
    )
    onnx.save(helper.make_model(graph, ir_version=10), two_products.path / "model.onnx")
    with pytest.raises(PassError, match="nothing in this network was converted"):
        build(OnnxFloat16(), two_products, {})


@pytest.mark.parametrize("ir_version", [3, 4, 10])
def test_weights_that_are_inputs_too_are_converted(
    build: Callable[..., Any], two_products: Model, ir_version: int
) -> None:
    file = two_products.path / "model.onnx"
    made = onnx.load(file)
    for tensor in made.graph.initializer:
        made.graph.input.append(
            helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims)
        )
    made.ir_version, made.opset_import[0].version = ir_version, 9
    onnx.save(made, file)
    built = build(OnnxFloat16(), open_model(two_products.path), {})
    assert {t.data_type for t in built.graph.initializer} == {TensorProto.FLOAT16}
    assert [each.name for each in built.graph.input] == ["x"]
    assert built.error < 0.01
