"""The quantized network is one, computes nearly the same, and refusals say what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import PassError
from paretune.core.model import Model, ModelKind
from paretune.models.handle import open_model
from paretune.passes.onnx.dynamic_int8 import OnnxDynamicInt8
from paretune.runtimes.serving import load_session
from tests.onnx_networks import write_network
from tests.pass_bench import Bench

CPU = RuntimeSettings("cpu", 1)


@pytest.fixture
def network(tmp_path: Path) -> Model:
    folder = write_network(tmp_path / "network", width=64, classes=8)
    (folder / "labels.txt").write_text("a\nb\n")
    return open_model(folder)


def outputs(folder: Path) -> np.ndarray:
    rows = np.random.default_rng(0).normal(size=(32, 64)).astype(np.float32)
    return np.asarray(load_session(open_model(folder), CPU).run({"x": rows})["y"])


@pytest.mark.parametrize("params", [{}, {"weight_type": "QUInt8"}, {"per_channel": True}])
def test_what_is_built_computes_nearly_what_it_was_built_from(
    network: Model, bench: Bench, params: dict[str, object]
) -> None:
    built = bench.run(OnnxDynamicInt8(), network, params, "int8")
    assert open_model(built).kind is ModelKind.ONNX
    assert (built / "labels.txt").read_text() == "a\nb\n"
    kinds = {t.data_type for t in onnx.load(str(built / "model.onnx")).graph.initializer}
    assert kinds & {TensorProto.INT8, TensorProto.UINT8}
    before, after = outputs(network.path), outputs(built)
    assert not np.array_equal(before, after)
    assert np.abs(before - after).max() < 0.05 * np.abs(before).max()


def test_an_excluded_node_keeps_its_weights(tmp_path: Path, bench: Bench) -> None:
    folder = write_network(tmp_path / "named", width=64)
    model = onnx.load(str(folder / "model.onnx"))
    for i, node in enumerate(model.graph.node):
        node.name = f"node{i}"
    onnx.save(model, folder / "model.onnx")
    named = open_model(folder)
    built = bench.run(OnnxDynamicInt8(), named, {"nodes_to_exclude": ["node0"]}, "int8")
    kept = {t.name: t.data_type for t in onnx.load(str(built / "model.onnx")).graph.initializer}
    assert kept["w1"] == TensorProto.FLOAT
    assert "w2" not in kept
    with pytest.raises(PassError, match="no node named 'node9'"):
        bench.run(OnnxDynamicInt8(), named, {"nodes_to_exclude": ["node9"]}, "other")


def test_a_network_without_stored_weights_is_refused(tmp_path: Path, bench: Bench) -> None:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [info("x", TensorProto.FLOAT, [4])],
        [info("y", TensorProto.FLOAT, [4])],
    )
    (tmp_path / "relu").mkdir()
    opset = [helper.make_opsetid("", 17)]
    onnx.save(
        helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "relu/model.onnx"
    )
    with pytest.raises(PassError, match="nothing in this network was quantized"):
        bench.run(OnnxDynamicInt8(), open_model(tmp_path / "relu"), {}, "int8")
