"""The quantized network is one, computes nearly the same, and refusals say what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from onnx import TensorProto, helper

from paretune.core.errors import PassError
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.models.handle import open_model
from paretune.passes.onnx.dynamic_int8 import OnnxDynamicInt8
from paretune.testing.passes import TARGET


def kinds(built: Any) -> dict[str, int]:
    return {tensor.name: tensor.data_type for tensor in built.graph.initializer}


@pytest.mark.parametrize("params", [{}, {"weight_type": "QUInt8"}, {"per_channel": True}])
def test_what_is_built_computes_nearly_what_it_was_built_from(
    build: Callable[..., Any], two_products: Model, params: dict[str, object]
) -> None:
    built = build(OnnxDynamicInt8(), two_products, params)
    assert open_model(built.folder).kind is ModelKind.ONNX
    assert (built.folder / "labels.txt").read_text() == "a\nb\n"
    assert set(kinds(built).values()) & {TensorProto.INT8, TensorProto.UINT8}
    assert 0 < built.error < 0.05


def test_nodes_and_operators_that_keep_their_weights(
    build: Callable[..., Any], two_products: Model
) -> None:
    built = build(OnnxDynamicInt8(), two_products, {"nodes_to_exclude": ["first"]})
    assert kinds(built)["w1"] == TensorProto.FLOAT
    assert "w2" not in kinds(built)
    with pytest.raises(PassError, match="no node named 'firts'") as wrong:
        build(OnnxDynamicInt8(), two_products, {"nodes_to_exclude": ["firts"]})
    assert "first" in str(wrong.value.hint)
    with pytest.raises(PassError, match="no operator 'Conv'") as wrong:
        build(OnnxDynamicInt8(), two_products, {"op_types_to_quantize": ["Conv"]})
    assert wrong.value.hint == "It has MatMul, Relu."


def test_nodes_without_a_name_have_one_here(
    build: Callable[..., Any], network: Callable[..., Model]
) -> None:
    node = helper.make_node
    unnamed = network(
        [node("MatMul", ["x", "w1"], ["h"]), node("MatMul", ["h", "w2"], ["y"])],
        {"w1": (64, 32), "w2": (32, 8)},
    )
    built = build(OnnxDynamicInt8(), unnamed, {"nodes_to_exclude": ["MatMul_1"]})
    assert kinds(built)["w2"] == TensorProto.FLOAT
    assert "w1" not in kinds(built)


@pytest.mark.parametrize(
    "params", [{"nodes_to_exclude": ["gemm"]}, {"op_types_to_quantize": ["MatMul"]}], ids=str
)
def test_gemm_is_left_though_the_quantizer_makes_another_operator_of_it(
    build: Callable[..., Any], network: Callable[..., Model], params: dict[str, Any]
) -> None:
    node = helper.make_node
    both = network(
        [
            node("Gemm", ["x", "w1", "b"], ["h"], name="gemm", transB=1),
            node("MatMul", ["h", "w2"], ["y"], name="product"),
        ],
        {"w1": (32, 64), "b": (32,), "w2": (32, 8)},
    )
    floats = {
        name for name, kind in kinds(build(OnnxDynamicInt8(), both, params)).items() if kind == 1
    }
    assert any(name.startswith("w1") for name in floats)
    assert "w2" not in floats
    gemm = build(OnnxDynamicInt8(), both, {"op_types_to_quantize": ["Gemm"]})
    assert kinds(gemm)["w2"] == TensorProto.FLOAT
    assert "MatMulInteger" in gemm.operators


def test_a_fused_network_whose_types_onnx_does_not_infer(
    build: Callable[..., Any], fused: Model
) -> None:
    built = build(OnnxDynamicInt8(), fused, {})
    assert "MatMulInteger" in built.operators
    assert built.error < 0.05


def test_the_standard_attention_is_not_taken_for_the_runtimes_own(
    build: Callable[..., Any], network: Callable[..., Model]
) -> None:
    heads = {"q_num_heads": 4, "kv_num_heads": 4}
    node = helper.make_node
    attends = network(
        [
            node("MatMul", ["x", "w"], ["q"], name="product"),
            node("Attention", ["q", "k", "v"], ["y"], name="attention", **heads),
        ],
        {"w": (64, 32), "k": (1, 5, 32), "v": (1, 5, 32)},
        opset=23,
        inputs={"x": [1, 6, 64]},
    )
    built = build(OnnxDynamicInt8(), attends, {})
    assert "Attention" in built.operators
    assert built.error < 0.05


def test_a_network_without_stored_weights_and_one_in_other_bits_are_refused(
    build: Callable[..., Any], network: Callable[..., Model]
) -> None:
    relu = network([helper.make_node("Relu", ["x"], ["y"])], {})
    with pytest.raises(PassError, match="nothing in this network was quantized"):
        build(OnnxDynamicInt8(), relu, {})
    pass_ = OnnxDynamicInt8()
    params = pass_.Params()
    info = ModelInfo(ModelKind.ONNX)
    assert pass_.check(info, params, TARGET, "cpu") is None
    again = pass_.check(pass_.predict(info, params), params, TARGET, "cpu")
    assert again == "takes a network in fp32; this one is int8"


def test_gemm_that_is_left_is_nothing_quantized(
    build: Callable[..., Any], network: Callable[..., Model]
) -> None:
    model = network(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="only")], {"w": (64, 8), "b": (8,)}
    )
    with pytest.raises(PassError, match="nothing in this network was quantized"):
        build(OnnxDynamicInt8(), model, {"nodes_to_exclude": ["only"]})
