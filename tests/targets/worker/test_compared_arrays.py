"""Builds of plain networks are held against their source: right ones pass, wrong ones are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from paretune.core.fidelity import Fidelity, Verdict
from paretune.core.model import Model
from paretune.data.context import Context
from paretune.models.handle import open_model
from paretune.targets.worker.compared_arrays import compare_arrays
from tests.onnx_networks import write_network


def network(folder: Path, change: Callable[[Any], object] = lambda _: None) -> Model:
    """A network with a table, float and integer outputs, that takes any number of rows."""
    draw = np.random.default_rng(0)
    node, info = helper.make_node, helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            node("Gather", ["table", "ids"], ["rows"]),
            node("MatMul", ["rows", "w"], ["y"]),
            node("ArgMax", ["y"], ["label"], axis=-1),
        ],
        "lookup",
        [info("ids", TensorProto.INT64, ["batch", "length"])],
        [
            info("y", TensorProto.FLOAT, ["batch", "length", 6]),
            info("label", TensorProto.INT64, ["batch", "length", 1]),
        ],
        [
            numpy_helper.from_array(draw.normal(size=size).astype(np.float32), name)
            for name, size in (("table", (20, 8)), ("w", (8, 6)))
        ],
    )
    change(graph)
    folder.mkdir()
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), folder / "model.onnx")
    return open_model(folder)


def scaled(factor: float) -> Callable[[Any], object]:
    """Changes the values of the matrix."""

    def change(graph: Any) -> None:
        values = numpy_helper.to_array(graph.initializer[1]) * np.float32(factor)
        graph.initializer[1].CopyFrom(numpy_helper.from_array(values, "w"))

    return change


def verdict(made: Model, source: Model, fidelity: Fidelity = Fidelity.FP32) -> Verdict:
    context = Context(out=Path(), scratch=Path(), data=None)  # type: ignore[arg-type]
    return compare_arrays(fidelity, made, source, "the input model", context)


def test_a_network_is_itself(tmp_path: Path) -> None:
    source = network(tmp_path / "source")
    found = verdict(source, source)
    assert found.valid
    assert found.compared == {
        "output_error": 0.0,
        "outputs": {"y": 0.0, "label": 0.0},
        "runs": 4,
        "bound": 1e-3,
        "fidelity": "fp32",
    }


@pytest.mark.parametrize(
    ("factor", "right", "wrong"),
    [
        (1 + 1e-5, Fidelity.FP32, None),
        (1.01, Fidelity.FP16, Fidelity.FP32),
        (1.5, Fidelity.QUANTIZED, Fidelity.FP16),
        (-1.0, None, Fidelity.QUANTIZED),
    ],
)
def test_weights_that_are_further_and_further_from_the_source(
    tmp_path: Path, factor: float, right: Fidelity | None, wrong: Fidelity | None
) -> None:
    source = network(tmp_path / "source")
    made = network(tmp_path / "made", scaled(factor))
    if right is not None:
        found = verdict(made, source, right)
        assert found.valid, found.reason
        assert found.compared is not None
        assert found.compared["outputs"]["y"] == pytest.approx(abs(factor - 1), rel=0.2)
    if wrong is not None:
        found = verdict(made, source, wrong)
        assert not found.valid
        assert "computes something else than the input model, which it was" in str(found.reason)
        assert "output_error" in str(found.reason)


def test_a_source_that_is_not_finite_is_named(tmp_path: Path) -> None:
    source = network(tmp_path / "source", scaled(float("nan")))
    found = verdict(source, source, Fidelity.QUANTIZED)
    assert "'y' is not finite in 1968 of 1968 values, in 4 of 4 runs" in str(found.beside)
    assert found.compared is not None
    assert "y" not in found.compared["outputs"]


def test_a_build_in_16_bits_takes_arrays_of_16_bits(tmp_path: Path) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    source = open_model(write_network(tmp_path / "source"))
    (tmp_path / "half").mkdir()
    half = convert_float_to_float16(onnx.load(str(source.path / "model.onnx")))
    onnx.save(half, tmp_path / "half/model.onnx")
    found = verdict(open_model(tmp_path / "half"), source, Fidelity.FP16)
    assert found.valid, found.reason
    assert found.compared is not None
    assert 0 < found.compared["output_error"] < 0.01


def test_a_source_that_runs_with_no_size_is_not_compared(tmp_path: Path) -> None:
    def fixed(graph: Any) -> None:
        shape = numpy_helper.from_array(np.array([3, 5]), "shape")
        graph.initializer.append(shape)
        graph.node.insert(0, helper.make_node("Reshape", ["ids", "shape"], ["fixed"]))
        graph.node[1].input[1] = "fixed"
        for output in graph.output:
            output.type.tensor_type.ClearField("shape")

    source = network(tmp_path / "source", fixed)
    found = verdict(source, source)
    assert found.compared is None
    assert "runs with none of the sizes that were tried (8, 33, 224, 1)" in str(found.reason)
