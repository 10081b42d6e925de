"""Fusions and simplification: fewer operators that compute the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from paretune.core.errors import PassError
from paretune.core.model import Model
from paretune.passes.onnx.optimize import OnnxOptimize

pytest.importorskip("onnxslim", reason="onnx_optimize needs onnxslim (the extra onnx)")


def constant(name: str, value: float) -> Any:
    tensor = numpy_helper.from_array(np.array(value, np.float32), name)
    return helper.make_node("Constant", [], [name], value=tensor)


@pytest.fixture
def gelu(network: Callable[..., Model]) -> Model:
    """A product, and the activation as an export writes it, in five operators."""
    node = helper.make_node
    return network(
        [
            *(constant("root", math.sqrt(2)), constant("one", 1.0), constant("half", 0.5)),
            node("Identity", ["x"], ["same"]),
            node("MatMul", ["same", "w"], ["h"]),
            node("Div", ["h", "root"], ["d"]),
            node("Erf", ["d"], ["e"]),
            node("Add", ["e", "one"], ["a"]),
            node("Mul", ["h", "a"], ["m"]),
            node("Mul", ["m", "half"], ["y"]),
        ],
        {"w": (64, 8)},
    )


def test_fusions_and_simplification_compute_the_same(
    build: Callable[..., Any], gelu: Model, bench: Any
) -> None:
    fused = build(OnnxOptimize(), gelu, {"fusions": "bert"})
    assert fused.operators == {"MatMul", "Gelu"}
    assert fused.error < 1e-5
    assert (fused.folder / "labels.txt").is_file()
    (context,) = bench.contexts.values()
    assert context.details["summary"] == "7 operators became 2; new: 1 Gelu."
    simple = build(OnnxOptimize(), gelu, {"simplify": True})
    assert "Identity" not in simple.operators
    assert simple.error < 1e-5
    both = build(OnnxOptimize(), gelu, {"simplify": True, "fusions": "bert"})
    assert both.operators == {"MatMul", "Gelu"}


def test_a_network_that_nothing_matches_is_refused(
    build: Callable[..., Any], two_products: Model
) -> None:
    with pytest.raises(PassError, match="nothing in this network matches the fusions of 'vit'"):
        build(OnnxOptimize(), two_products, {"fusions": "vit"})
    for params in ({}, {"simplify": True}):
        with pytest.raises(PassError, match="nothing of this network was rewritten"):
            build(OnnxOptimize(), two_products, params)
