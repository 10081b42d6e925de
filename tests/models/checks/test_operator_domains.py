"""Operators that ONNX Runtime does not have are named by their domain, wherever they stand."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from paretune.models.checks.operator_domains import KNOWN, foreign_operators
from paretune.models.kinds.base import kind_named

FLOAT = TensorProto.FLOAT


def write(file: Path, node: onnx.NodeProto, *functions: onnx.FunctionProto) -> Path:
    x, y = (helper.make_tensor_value_info(name, FLOAT, [2]) for name in ("x", "y"))
    graph = helper.make_graph([node], "g", [x], [y])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my.ops", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, functions=list(functions)), file)
    return file


def test_a_domain_that_is_not_known_is_named(tmp_path: Path) -> None:
    write(tmp_path / "model.onnx", helper.make_node("Twice", ["x"], ["y"], domain="my.ops"))
    (found,) = kind_named("onnx").problems(tmp_path, None)
    assert found.fatal
    assert "the operator 'Twice' of the domain 'my.ops'" in found.message


def test_a_subgraph_is_looked_into(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Twice", ["x"], ["z"], domain="my.ops")],
        "inner",
        [],
        [helper.make_tensor_value_info("z", FLOAT, [2])],
    )
    node = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    assert len(list(foreign_operators(write(tmp_path / "n.onnx", node)))) == 1


def test_functions_of_the_network_and_contributed_operators_are_known(tmp_path: Path) -> None:
    opset = [helper.make_opsetid("", 17)]
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    function = helper.make_function("my.ops", "Twice", ["a"], ["b"], body, opset)
    node = helper.make_node("Twice", ["x"], ["y"], domain="my.ops")
    assert not list(foreign_operators(write(tmp_path / "n.onnx", node, function)))
    node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    assert not list(foreign_operators(write(tmp_path / "n.onnx", node)))


def test_the_domains_are_those_of_this_onnxruntime() -> None:
    state = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
    assert {schema.domain for schema in state.get_all_operator_schema()} <= KNOWN
