"""The nodes that suffer most from 8 bits stay in fp32: those, and as many as the budget says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from paretune.core.errors import PassError
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.data.catalog import DataCatalog
from paretune.data.spec import DataSpec
from paretune.models.handle import open_model
from paretune.passes.onnx.mixed import OnnxMixed
from paretune.testing.passes import TARGET
from tests.pass_bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    rows = np.random.default_rng(1).normal(size=(6, 64)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x=rows)
    spec = DataSpec(file="rows.npz", inputs={"x": "x"})
    return Bench(tmp_path, DataCatalog({"rows": spec}, tmp_path))  # type: ignore[arg-type]


@pytest.fixture
def uneven(network: Callable[..., Model]) -> Model:
    """Four products; the weights of one have an outlier, so that 8 bits round the others away."""
    node = helper.make_node
    sizes = {"w0": (64, 16), "w1": (16, 16), "w2": (16, 16), "w3": (16, 8)}
    flows = ["x", "a", "b", "c", "y"]
    nodes = [
        node("MatMul", [flows[i], f"w{i}"], [flows[i + 1]], name=f"product{i}") for i in range(4)
    ]
    model = network(nodes, sizes)
    whole = onnx.load(str(model.path / "model.onnx"))
    values = numpy_helper.to_array(whole.graph.initializer[2]).copy()
    values[0, 0] = 400.0
    whole.graph.initializer[2].CopyFrom(numpy_helper.from_array(values, "w2"))
    # What flows through the outlier's channel is nothing, so that only its rounding is seen.
    before = numpy_helper.to_array(whole.graph.initializer[1]).copy()
    before[:, 0] = 0.0
    whole.graph.initializer[1].CopyFrom(numpy_helper.from_array(before, "w1"))
    onnx.save(whole, model.path / "model.onnx")
    return open_model(model.path)


def floats(built: Any) -> set[str]:
    """Names of the matrices that are in fp32."""
    kept = {tensor.name for tensor in built.graph.initializer if tensor.data_type == 1}
    return kept & {"w0", "w1", "w2", "w3"}


@pytest.mark.parametrize("method", ["static", "dynamic"])
def test_the_worst_node_stays_and_the_error_falls(
    build: Callable[..., Any], uneven: Model, bench: Bench, method: str
) -> None:
    params = {"data": "rows", "method": method}
    none = build(OnnxMixed(), uneven, {**params, "budget": 0.0})
    one = build(OnnxMixed(), uneven, {**params, "budget": 0.25})
    assert floats(none) == set()
    assert floats(one) == {"w2"}
    assert one.error < 0.4 * none.error
    summary = list(bench.contexts.values())[-1].details["summary"]
    assert str(summary).startswith("1 of 4 products and convolutions stay in fp32: product2 (")
    assert (one.folder / "labels.txt").is_file()


def test_a_budget_is_a_share_of_the_nodes_and_all_of_them_is_refused(
    build: Callable[..., Any], uneven: Model
) -> None:
    params = {"data": "rows", "method": "dynamic", "nodes_to_exclude": ["product0"]}
    most = build(OnnxMixed(), uneven, {**params, "budget": 0.7})
    assert "w2" in floats(most)
    assert "w0" in floats(most)
    assert len(floats(most)) == 3, "two of the other three, and the one that is excluded"
    with pytest.raises(PassError, match="nothing in this network was quantized") as wrong:
        build(OnnxMixed(), uneven, {**params, "budget": 1.0})
    assert "smaller `budget`" in str(wrong.value.hint)


def test_a_bias_that_another_node_gives(
    build: Callable[..., Any], network: Callable[..., Model]
) -> None:
    node = helper.make_node
    shared = network(
        [
            node("Identity", ["b"], ["bias"]),
            node("Gemm", ["x", "w0", "bias"], ["a"], name="first"),
            node("MatMul", ["a", "w1"], ["y"], name="second"),
        ],
        {"w0": (64, 16), "b": (16,), "w1": (16, 8)},
    )
    built = build(OnnxMixed(), shared, {"data": "rows", "method": "dynamic", "budget": 0.5})
    assert len(floats(built)) == 1
    assert 0 < built.error < 0.05


def test_what_has_no_effect_is_refused() -> None:
    pass_ = OnnxMixed()
    params = pass_.Params(data="rows", method="dynamic", calibration="entropy")
    why = pass_.check(ModelInfo(ModelKind.ONNX), params, TARGET, "cpu")
    assert why == "calibration has no effect with `method: dynamic`"
