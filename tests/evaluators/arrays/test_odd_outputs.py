"""Outputs and answers that are no plain scores: names, truth values, infinities, other counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from pydantic import ValidationError

from paretune.core.errors import DataError, InvalidArtifactError, UsageError
from paretune.data.batches import batch_of
from paretune.evaluators.arrays.latency import LatencyParams
from paretune.evaluators.arrays.tokens import TokenParams
from tests.evaluators.arrays.conftest import OnRows
from tests.onnx_networks import write_identity

NAMES = ["cat", "dog", "fox"]


def write(folder: Path, nodes: list[Any], kind: int, shape: list[Any]) -> Path:
    """Write a network of nodes from ``x`` (rows, 3) to ``y``; returns its folder."""
    info = helper.make_tensor_value_info
    given = [info("x", TensorProto.FLOAT, ["rows", 3])]
    graph = helper.make_graph(nodes, "odd", given, [info("y", kind, shape)])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    folder.mkdir()
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.save(made, folder / "model.onnx")
    return folder


def write_names(folder: Path, names: list[str]) -> Path:
    """Write a network that gives the name of each row's class, as converters of trees do."""
    nodes = [
        helper.make_node("ArgMax", ["x"], ["k"], axis=1, keepdims=0),
        helper.make_node(
            "LabelEncoder",
            ["k"],
            ["y"],
            domain="ai.onnx.ml",
            keys_int64s=[0, 1, 2],
            values_strings=names,
        ),
    ]
    return write(folder, nodes, TensorProto.STRING, ["rows"])


def test_names_are_classes(on_rows: OnRows, tmp_path: Path) -> None:
    network = write_names(tmp_path / "names", NAMES)
    x = np.eye(3, dtype=np.float32)
    seen = on_rows("classification", network, {"x": x, "y": np.array(["cat", "fox", "fox"])})
    assert list(seen["accuracy"].samples) == [1, 0, 1]
    other = write_names(tmp_path / "other", ["cow", "dog", "fox"])
    seen = on_rows("agreement", other, {"x": x}, reference=network, spec={"target": None})
    assert list(seen["top1_agreement"].samples) == [0, 1, 1]
    assert seen["max_abs_difference"].value is None
    assert seen["max_abs_difference"].reason == "the output is text"
    for name in ("regression", "embedding"):
        with pytest.raises(UsageError, match=f"the output is text; {name} takes numbers"):
            on_rows(name, network, {"x": x, "y": np.zeros(3)})


def test_truth_values_are_the_classes_0_and_1(on_rows: OnRows, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "s"], ["g"]),
        helper.make_node("Not", ["g"], ["y"]),
    ]
    network = write(tmp_path / "truth", nodes, TensorProto.BOOL, [])
    arrays = {"x": np.ones((2, 3), np.float32), "y": np.array([True, False])}
    assert list(on_rows("classification", network, arrays)["accuracy"].samples) == [1, 0]


def test_infinite_outputs_are_invalid(on_rows: OnRows, tmp_path: Path) -> None:
    network = write(
        tmp_path / "log", [helper.make_node("Log", ["x"], ["y"])], TensorProto.FLOAT, ["rows", 3]
    )
    x = np.array([[1, 1, 1], [0, 1, 1]], np.float32)
    with pytest.raises(InvalidArtifactError, match="infinite for row 2 of d"):
        on_rows("regression", network, {"x": x, "y": x})
    plain = write_identity(tmp_path / "identity", 2)
    with pytest.raises(InvalidArtifactError, match=r"row 2 of d where the baseline's is not"):
        on_rows("agreement", network, {"x": x}, reference=plain, spec={"target": None})
    seen = on_rows("agreement", network, {"x": x}, reference=network, spec={"target": None})
    assert seen["max_abs_difference"].value == 0  # equal infinities do not differ


@pytest.mark.parametrize("labels", [None, NAMES])
def test_a_digit_that_is_no_number_is_no_class(
    on_rows: OnRows, tmp_path: Path, labels: list[str] | None
) -> None:
    arrays = {"x": np.eye(2, dtype=np.float32), "y": np.array(["²", "1"])}
    with pytest.raises(DataError, match="row 1 has the answer '²'"):
        on_rows("classification", write_identity(tmp_path / "n", 2), arrays, labels=labels)


def test_labels_of_tokens_are_as_many_as_classes_and_name_what_is_outside(
    on_rows: OnRows, tmp_path: Path
) -> None:
    arrays = {"x": np.zeros((1, 2, 3), np.float32), "y": np.array([[0, 1]])}
    network = write_identity(tmp_path / "n", 3)
    with pytest.raises(UsageError, match="has 3 classes, and `labels` names 2"):
        on_rows("token_classification", network, arrays, labels=["O", "B"])
    with pytest.raises(ValidationError, match="outside: 'OO' is neither a number nor in `labels`"):
        TokenParams(data="d", labels=["O", "B"], outside="OO")
    assert TokenParams(data="d", outside="0").outside == "0"


def test_throughput_counts_the_rows_that_run(on_rows: OnRows, tmp_path: Path) -> None:
    network = write_identity(tmp_path / "n", 2)
    for params in ({"batch_size": 4}, {"concurrency": 2}):
        with pytest.raises(UsageError, match="shapes: x has 8 rows") as told:
            on_rows("latency", network, {}, shapes={"x": [8, 3]}, data=None, **params)
        assert "batch_size: 8" in str(told.value.hint)
    rows = {"x": np.ones((2, 5, 3), np.float32)}  # each of them has as many axes as the input
    with pytest.raises(UsageError, match="one row of d at a time"):
        on_rows("latency", network, rows, spec={"target": None}, batch_size=4)
    with pytest.raises(ValidationError, match=r"shapes: x: expected sizes of 1 and more"):
        LatencyParams(shapes={"x": [0, 3]})


def test_values_that_the_type_cannot_hold_are_refused_and_empty_rows_have_any_type() -> None:
    inputs = {"x": ("float32", (None, None)), "ids": ("int64", (None, None))}
    empty = np.array([])
    given, _ = batch_of({"x": np.array([1e30]), "ids": empty}, inputs, "row 1")
    assert given["ids"].dtype == np.int64
    assert given["ids"].shape == (1, 0)
    with pytest.raises(DataError, match=r"row 1, input 'x' is float64 .* to 1e\+39"):
        batch_of({"x": np.array([1e39]), "ids": empty}, inputs, "row 1")
    with pytest.raises(DataError, match="input 'ids' is float64"):
        batch_of({"x": empty, "ids": np.array([1.0])}, inputs, "row 1")
