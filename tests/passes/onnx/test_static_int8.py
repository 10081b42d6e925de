"""Ranges from data: each calibration and format builds what loads and computes nearly the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from paretune.core.errors import PassError
from paretune.core.jsontools import write_json
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.data.catalog import DataCatalog
from paretune.data.context import Context
from paretune.data.spec import DataSpec
from paretune.models.handle import open_model
from paretune.passes.onnx.calibration import inputs_of
from paretune.passes.onnx.static_int8 import OnnxStaticInt8
from paretune.testing.passes import TARGET
from tests.onnx_networks import write_network
from tests.pass_bench import Bench


@dataclass(frozen=True)
class Arrays:
    """Data sets of arrays of a test."""

    root: Path

    def catalog(self, **arrays: Any) -> DataCatalog:
        np.savez(self.root / "rows.npz", **arrays)
        spec = DataSpec(file="rows.npz", inputs={name: name for name in arrays})
        return DataCatalog({"rows": spec}, self.root)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    draw = np.random.default_rng(1)
    rows = draw.normal(size=(12, 64)).astype(np.float32)
    return Bench(tmp_path, Arrays(tmp_path).catalog(x=rows))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"per_channel": True, "weight_type": "QInt8", "activation_type": "QInt8"},
        {"calibration": "entropy"},
        {"calibration": "percentile", "percentile": 99.9},
        {"format": "qoperator", "reduce_range": True},
        {"op_types_to_quantize": ["MatMul"], "calibration_rows": 4},
    ],
    ids=str,
)
def test_what_is_built_computes_nearly_the_same(
    build: Callable[..., Any], two_products: Model, params: dict[str, Any]
) -> None:
    built = build(OnnxStaticInt8(), two_products, {"data": "rows", **params})
    qoperator = params.get("format") == "qoperator"
    assert ("QLinearMatMul" if qoperator else "DequantizeLinear") in built.operators
    assert 0 < built.error < 0.3
    assert (built.folder / "labels.txt").is_file()


def test_a_session_does_not_quantize_what_was_excluded(
    build: Callable[..., Any], network: Callable[..., Model]
) -> None:
    node = helper.make_node
    nodes = [
        node("MatMul", ["x", "w0"], ["a"], name="before"),
        node("Gemm", ["a", "w1"], ["b"], name="kept"),
        node("MatMul", ["b", "w2"], ["y"], name="after"),
    ]
    model = network(nodes, {"w0": (64, 16), "w1": (16, 16), "w2": (16, 8)})
    whole = onnx.load(str(model.path / "model.onnx"))
    for tensor in whole.graph.initializer:
        if tensor.name == "w1":
            values = numpy_helper.to_array(tensor).copy()
            values[0, 0] = 300.0  # per tensor, all others would be rounded away
            tensor.CopyFrom(numpy_helper.from_array(values, "w1"))
    onnx.save(whole, model.path / "model.onnx")
    params = {"data": "rows", "nodes_to_exclude": ["kept"]}
    built = build(OnnxStaticInt8(), open_model(model.path), params)
    rows = np.random.default_rng(1).normal(size=(12, 64)).astype(np.float32)
    found = []
    for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        file = str(built.folder / "model.onnx")
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        found.append(session.run(None, {"x": rows})[0])
    apart = np.square(found[1] - found[0]).mean() / found[0].var()
    assert apart < 1e-4, "a session computes what the file says"


def test_excluded_nodes_and_a_fused_network(
    build: Callable[..., Any], two_products: Model, fused: Model
) -> None:
    built = build(
        OnnxStaticInt8(),
        two_products,
        {"data": "rows", "nodes_to_exclude": ["first"], "op_types_to_quantize": ["MatMul"]},
    )
    assert "w1" in {tensor.name for tensor in built.graph.initializer}
    assert built.error > 0
    assert 0 < build(OnnxStaticInt8(), fused, {"data": "rows"}).error < 0.3


def test_a_node_that_the_preparation_merges_is_not_quantized_in_silence(
    build: Callable[..., Any], network: Callable[..., Model]
) -> None:
    node = helper.make_node
    merged = network(
        [node("MatMul", ["x", "w"], ["h"], name="product"), node("Add", ["h", "b"], ["y"])],
        {"w": (64, 8), "b": (8,)},
    )
    with pytest.raises(PassError, match="'product' is merged into another node") as wrong:
        build(OnnxStaticInt8(), merged, {"data": "rows", "nodes_to_exclude": ["product"]})
    assert "onnx_optimize" in str(wrong.value.hint)


def test_per_channel_in_an_early_opset_and_with_a_bias_of_two_axes(
    build: Callable[..., Any], network: Callable[..., Model]
) -> None:
    node = helper.make_node
    early = network(
        [node("Gemm", ["x", "w", "b"], ["y"], name="product")],
        {"w": (64, 8), "b": (1, 8)},
        opset=11,
    )
    built = build(OnnxStaticInt8(), early, {"data": "rows", "per_channel": True})
    scales = [t for t in built.graph.initializer if t.name.startswith("w") and "scale" in t.name]
    assert [list(scale.dims) for scale in scales] == [[8]]
    assert 0 < built.error < 0.3


def test_rows_of_different_lengths_calibrate_by_histograms(
    build: Callable[..., Any], network: Callable[..., Model], bench: Bench, tmp_path: Path
) -> None:
    lines = []
    draw = np.random.default_rng(2)
    for length in (2, 5, 3):
        values = draw.normal(size=(length, 8)).round(3).tolist()
        lines.append(f'{{"x": {values}}}\n')
    (tmp_path / "rows.jsonl").write_text("".join(lines))
    spec = DataSpec(file="rows.jsonl", inputs={"x": "x"})
    node = helper.make_node
    longer = network(
        [node("MatMul", ["x", "w"], ["h"]), node("Relu", ["h"], ["y"])],
        {"w": (8, 16)},
        inputs={"x": ["batch", "length", 8]},
    )
    bench.catalog.__dict__.update(DataCatalog({"rows": spec}, tmp_path).__dict__)
    built = build(OnnxStaticInt8(), longer, {"data": "rows", "calibration": "entropy"})
    assert 0 < built.error < 0.3


def test_a_network_with_state_is_calibrated_on_the_states_that_it_has(
    build: Callable[..., Any], network: Callable[..., Model], bench: Bench
) -> None:
    node = helper.make_node
    stateful = network(
        [
            node("MatMul", ["x", "w"], ["h"]),
            node("Add", ["h", "state"], ["next"]),
            node("Relu", ["next"], ["y"]),
        ],
        {"w": (64, 4)},
        inputs={"x": ["batch", 64], "state": ["batch", 4]},
    )
    file = stateful.path / "model.onnx"
    whole = onnx.load(str(file))
    whole.graph.output.append(
        helper.make_tensor_value_info("next", onnx.TensorProto.FLOAT, ["batch", 4])
    )
    onnx.save(whole, file)
    with pytest.raises(PassError, match="no arrays for the input 'state'"):
        build(OnnxStaticInt8(), open_model(stateful.path), {"data": "rows"})
    write_json(stateful.path / "paretune_network.json", {"sizes": {}, "state": {"next": "state"}})
    steps = np.random.default_rng(3).normal(size=(2, 30, 64)).astype(np.float32)
    catalog = Arrays(bench.root).catalog(x=steps)
    context = Context(bench.root, bench.root, catalog)
    given = inputs_of("static", open_model(stateful.path), "rows", 2, context)
    assert len(given) == 60, "a run for each step"
    weights = onnx.numpy_helper.to_array(whole.graph.initializer[0])
    summed = (steps[1] @ weights).cumsum(axis=0)
    assert not given[30]["state"].any(), "each row begins with zeros"
    assert np.allclose(given[59]["state"], summed[28], rtol=1e-3, atol=1e-3)


def test_what_is_refused(build: Callable[..., Any], network: Callable[..., Model]) -> None:
    pass_ = OnnxStaticInt8()
    info = ModelInfo(ModelKind.ONNX)
    mixed = pass_.Params(data="rows", activation_type="QInt8", weight_type="QUInt8")
    assert "QInt8 only" in str(pass_.check(info, mixed, TARGET, "cpu"))
    unused = pass_.Params(data="rows", percentile=99.0)
    assert "`calibration: percentile` only" in str(pass_.check(info, unused, TARGET, "cpu"))
    other = network(
        [helper.make_node("MatMul", ["z", "w"], ["y"])], {"w": (64, 8)}, inputs={"z": [1, 64]}
    )
    with pytest.raises(PassError, match="no arrays for the input 'z'"):
        build(pass_, other, {"data": "rows"})
    short = network(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": (9, 8)}, inputs={"x": [1, 9]}
    )
    with pytest.raises(PassError, match="does not run on row 1 of rows"):
        build(pass_, short, {"data": "rows"})


def test_a_network_of_several_rows_and_one_that_counts_none(
    bench: Bench, build: Callable[..., Any], network: Callable[..., Model]
) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    several = network(nodes, {"w": (64, 8)}, inputs={"x": [3, 64]})
    assert build(OnnxStaticInt8(), several, {"data": "rows"}).error < 0.3
    draw = np.random.default_rng(2)
    rows = draw.normal(size=(4, 5, 64)).astype(np.float32)
    root = bench.root / "sequences"
    root.mkdir()
    catalog = Arrays(root).catalog(x=rows)  # each row has as many axes as the input
    context = Context(out=bench.root, scratch=bench.root, data=catalog)
    runs = inputs_of("p", network(nodes, {"w": (64, 8)}), "rows", 9, context)
    assert [run["x"].shape for run in runs] == [(5, 64)] * 4


def test_rows_that_have_no_range_are_named(bench: Bench) -> None:
    model = write_network(bench.root / "net", width=64)
    rows = np.full((3, 64), np.nan, np.float32)
    broken = Bench(bench.root, Arrays(bench.root).catalog(x=rows))  # type: ignore[arg-type]
    params = {"data": "rows", "calibration": "entropy"}
    with pytest.raises(PassError) as told:
        broken.run(OnnxStaticInt8(), open_model(model), params, "nan")
    assert "NaN or infinity" in str(told.value.hint)
