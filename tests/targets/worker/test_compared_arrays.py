"""Builds of plain networks are held against their source: right ones pass, wrong ones are found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from paretune.core.candidate import Step
from paretune.core.fidelity import Cause, Fidelity, Verdict
from paretune.core.job import Build
from paretune.core.model import Model, ModelKind
from paretune.core.params import NoParams
from paretune.data.catalog import DataCatalog
from paretune.data.context import Context
from paretune.data.spec import DataSpec
from paretune.models.handle import open_model
from paretune.targets.worker import building
from paretune.targets.worker.compared import what_to_do
from paretune.targets.worker.compared_arrays import compare_arrays
from paretune.targets.worker.compared_cache import ComparedCache
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


def verdict(
    made: Model, source: Model, fidelity: Fidelity = Fidelity.FP32, data: Any = None, rows: str = ""
) -> Verdict:
    context = Context(out=Path(), scratch=Path(), data=data)
    cache = ComparedCache(source.path.parent / "compared")
    return compare_arrays(fidelity, made, source, "the input model", context, cache, rows)


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
        rounded = wrong is Fidelity.QUANTIZED
        assert found.cause is (Cause.UNKNOWN if rounded else Cause.DEFECT)
        assert ("`onnx_mixed`" in what_to_do(found)) is rounded


def test_a_quantized_network_that_is_not_finite_is_a_defect(tmp_path: Path) -> None:
    source = network(tmp_path / "source")
    found = verdict(network(tmp_path / "made", scaled(float("nan"))), source, Fidelity.QUANTIZED)
    assert (found.valid, found.cause) == (False, Cause.DEFECT)


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


def test_rows_of_a_data_set_are_read_once_and_decide(tmp_path: Path) -> None:
    """A build that is wrong for some indices is right on rows that do not have them."""

    def wrong_for_index_7(graph: Any) -> None:
        values = numpy_helper.to_array(graph.initializer[0]).copy()
        values[7] = 100.0
        graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "table"))

    source = network(tmp_path / "source")
    made = network(tmp_path / "made", wrong_for_index_7)
    assert not verdict(made, source).valid
    for ids, right in (([[1, 2], [3, 4]], True), ([[1, 2], [3, 7]], False)):
        file = tmp_path / "rows.npz"
        np.savez(file, ids=np.array(ids))
        spec = {"rows": DataSpec(file="rows.npz", inputs={"ids": "ids"})}
        data = DataCatalog(spec, tmp_path)
        data.arrays("rows")
        value = data.to_json()
        assert verdict(made, source, data=DataCatalog.from_json(value), rows="rows").valid is right
        file.unlink()  # the next build takes what the first one kept
        again = verdict(made, source, data=DataCatalog.from_json(value), rows="rows")
        assert again.valid is right
        assert again.compared is not None
        assert again.compared["runs"] == 2
    spec = {"rows": DataSpec(file="other.npz", inputs={"words": "ids"})}
    np.savez(tmp_path / "other.npz", ids=np.array([[1, 2]]))
    unfit = verdict(made, source, data=DataCatalog(spec, tmp_path), rows="rows")
    assert unfit.compared is None
    assert "an input 'ids', and the data set does not" in str(unfit.reason)


def test_a_verdict_is_taken_again_when_the_rows_are_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = network(tmp_path / "source")

    class Doubles:
        name, version, packages, provider_matters = "doubles", 1, (), False
        produces, Params = ModelKind.ONNX, NoParams

        def fidelity(self, params: Any) -> Fidelity:
            return Fidelity.QUANTIZED

        def run(self, model: Model, params: Any, context: Context) -> None:
            made = network(context.scratch / "made", scaled(1.5))
            shutil.copy(made.path / "model.onnx", context.out)

    monkeypatch.setattr(building, "find_pass", lambda name: Doubles())
    monkeypatch.setattr(building, "is_ours", lambda *_: True)
    runs = []
    for ids in (None, [[1]], [[1]], [[1], [2], [3]]):
        spec = {"rows": DataSpec(file="rows.npz", inputs={"ids": "ids"})}
        if ids is not None:
            np.savez(tmp_path / "rows.npz", ids=np.array(ids))
        task = Build(
            model=source,
            recipe=(Step("doubles"),),
            provider="cpu",
            store=tmp_path / "store",
            data=DataCatalog(spec, tmp_path).to_json(),
            compared_on="" if ids is None else "rows",
        )
        told = building.build(task, lambda _: None).fidelity
        assert told is not None
        assert told.compared is not None, told.reason
        runs.append(told.compared["runs"])
    assert runs == [4, 1, 1, 3]
