"""Matrices in 4 and 8 bits: each algorithm builds what loads and computes nearly the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from onnx import helper

from paretune.core.errors import PassError
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.passes.onnx.weight_only import OnnxWeightOnly
from paretune.testing.passes import TARGET


def attributes(built: Any) -> dict[str, int]:
    node = next(node for node in built.graph.node if node.op_type == "MatMulNBits")
    return {attribute.name: attribute.i for attribute in node.attribute}


@pytest.mark.parametrize(
    ("params", "most"),
    [
        ({}, 0.3),
        ({"symmetric": False, "block_size": 16}, 0.3),
        ({"bits": 8}, 0.03),
        ({"algorithm": "k_quant"}, 0.3),
        ({"algorithm": "k_quant", "bits": 8}, 0.03),
    ],
    ids=str,
)
def test_each_algorithm(
    build: Callable[..., Any], two_products: Model, params: dict[str, Any], most: float
) -> None:
    built = build(OnnxWeightOnly(), two_products, params)
    assert attributes(built)["bits"] == params.get("bits", 4)
    assert attributes(built)["block_size"] == params.get("block_size", 32)
    assert attributes(built)["accuracy_level"] == 4
    assert ("MatMul" in built.operators) is (params == {"algorithm": "k_quant"})  # an odd block
    assert 0 < built.error < most
    assert (built.folder / "labels.txt").is_file()


@pytest.mark.slow
def test_hqq(build: Callable[..., Any], two_products: Model) -> None:
    pytest.importorskip("torch", reason="hqq needs torch (the extra train or genai)")
    assert 0 < build(OnnxWeightOnly(), two_products, {"algorithm": "hqq"}).error < 0.3


def test_gemm_and_matrices_that_nodes_give(
    build: Callable[..., Any], network: Callable[..., Model], two_products: Model
) -> None:
    gemm = network(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="product", transB=1)],
        {"w": (8, 64), "b": (8,)},
    )
    assert "MatMulNBits" in build(OnnxWeightOnly(), gemm, {"bits": 8}).operators
    with pytest.raises(PassError, match="nothing in this network was quantized"):
        build(OnnxWeightOnly(), gemm, {"nodes_to_exclude": ["product"]})
    import onnx

    whole = onnx.load(str(two_products.path / "model.onnx"))
    weight = whole.graph.initializer.pop()
    whole.graph.node.insert(0, helper.make_node("Constant", [], [weight.name], value=weight))
    onnx.save(whole, two_products.path / "model.onnx")
    assert "MatMul" not in build(OnnxWeightOnly(), two_products, {"bits": 8}).operators


def test_what_is_refused(
    build: Callable[..., Any], two_products: Model, network: Callable[..., Model]
) -> None:
    built = build(OnnxWeightOnly(), two_products, {"nodes_to_exclude": ["first"]}, provider="cuda")
    assert {"MatMul", "MatMulNBits"} <= built.operators
    assert attributes(built).get("accuracy_level", 0) == 0
    conv = network(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        {"w": (4, 3, 3, 3)},
        inputs={"x": [1, 3, 8, 8]},
    )
    with pytest.raises(PassError, match="nothing in this network was quantized") as wrong:
        build(OnnxWeightOnly(), conv, {})
    assert "for convolutions take" in str(wrong.value.hint)


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"algorithm": "k_quant", "symmetric": True}, "always has zero points"),
        ({"algorithm": "hqq", "accuracy_level": 4}, "no effect with hqq"),
        ({"algorithm": "hqq", "bits": 8}, "does not load on cpu"),
    ],
    ids=str,
)
def test_parameters_that_contradict_each_other(params: dict[str, Any], why: str) -> None:
    pass_ = OnnxWeightOnly()
    found = pass_.check(ModelInfo(ModelKind.ONNX), pass_.Params(**params), TARGET, "cpu")
    assert why in str(found)


def test_matrices_that_no_block_size_fits_are_told(
    build: Callable[..., Any], network: Callable[..., Model]
) -> None:
    model = network([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": (64, 8)})
    how = {"algorithm": "k_quant", "block_size": 64}
    with pytest.raises(PassError, match="nothing in this network was quantized") as told:
        build(OnnxWeightOnly(), model, how)
    assert "another block_size" in str(told.value.hint)
