"""Networks with state and sizes, in a session of ours and in the program of a package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import InvalidArtifactError
from paretune.models.declared_network import FILE, DeclaredNetwork
from paretune.models.handle import open_model
from paretune.runtimes.package import lay_out
from paretune.runtimes.sample_program import write_sample
from paretune.runtimes.serving import load_session, required_runtime
from tests.onnx_networks import write_memory, write_network

CPU = RuntimeSettings("cpu", 1)
STATE = {"after": "before"}
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("my.ops", 1)]


def write_model(folder: Path, graph: onnx.GraphProto, **more: Any) -> None:
    folder.mkdir(exist_ok=True)
    made = helper.make_model(graph, opset_imports=OPSETS, ir_version=10, **more)
    onnx.save(made, folder / "model.onnx")


def declared(folder: Path, sizes: dict[str, int], state: dict[str, str]) -> Path:
    (folder / FILE).write_text(json.dumps(DeclaredNetwork(sizes, state).to_json()))
    return folder


def test_state_is_fed_back_from_step_to_step_and_begins_with_zeros(tmp_path: Path) -> None:
    session = load_session(open_model(declared(write_memory(tmp_path / "n"), {}, STATE)), CPU)
    assert session.inputs == {"x": ("float32", (None, None))}
    assert session.has_state
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    for _ in range(2):  # nothing is left of the run before
        found = session.run({"x": x})
        assert set(found) == {"y", "count", "last"}
        assert np.allclose(found["y"], 2 * np.cumsum(x, axis=1))
        assert found["count"].shape == (2, 5, 3)
        assert found["last"].shape == (2, 5)
    once = session.run({"x": x[:, 0]})
    assert np.allclose(once["y"], 2 * x[:, 0])


def test_a_sequence_gives_what_steps_by_hand_give(tmp_path: Path) -> None:
    """Weights and a state that is no plain sum: an order of steps that is wrong would show."""
    w = np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["before", "w"], ["moved"]),
        helper.make_node("Add", ["moved", "x"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["after"]),
        helper.make_node("Exp", ["after"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "recurrent",
        [value(name, TensorProto.FLOAT, ["batch", 3]) for name in ("x", "before")],
        [value(name, TensorProto.FLOAT, ["batch", 3]) for name in ("y", "after")],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    write_model(tmp_path / "n", graph)
    session = load_session(open_model(declared(tmp_path / "n", {}, STATE)), CPU)
    x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
    found = session.run({"x": x})["y"]
    own = onnxruntime.InferenceSession(str(tmp_path / "n" / "model.onnx"))
    held = np.zeros((2, 3), np.float32)
    for step in range(6):
        y, held = own.run(["y", "after"], {"x": x[:, step], "before": held})
        assert np.allclose(found[:, step], y, atol=1e-6)


def test_a_sequence_without_steps_is_refused(tmp_path: Path) -> None:
    session = load_session(open_model(declared(write_memory(tmp_path / "n"), {}, STATE)), CPU)
    with pytest.raises(InvalidArtifactError, match="sequences of one length above 0"):
        session.run({"x": np.ones((2, 0, 3), np.float32)})


def test_sizes_are_fixed_and_shown(tmp_path: Path) -> None:
    folder = declared(write_memory(tmp_path / "n"), {"batch": 2, "x[1]": 3}, STATE)
    model = open_model(folder)
    session = load_session(model, CPU)
    assert session.inputs == {"x": ("float32", (2, 3))}
    runtime = required_runtime(model.kind)
    assert runtime.smoke(model, session)["outputs"]["y"] == [2, 3]
    with pytest.raises(InvalidArtifactError, match=r"(?s)x.*Got: 4 Expected: 2"):
        session.run({"x": np.ones((4, 3), np.float32)})


def test_an_input_with_a_value_is_no_input_any_more(tmp_path: Path) -> None:
    folder = write_memory(tmp_path / "n")
    entry = DeclaredNetwork({"batch": 1, "x[1]": 3}, {}, {"before": 5})
    (folder / FILE).write_text(json.dumps(entry.to_json()))
    session = load_session(open_model(folder), CPU)
    assert list(session.inputs) == ["x"]
    x = np.ones((1, 3), np.float32)
    assert session.run({"x": x})["y"].tolist() == [[12, 12, 12]]
    package = lay_out(open_model(folder), CPU, tmp_path / "package", link=False)
    write_sample(package.path / "sample.py", "onnx", "unused", False, 8)
    command = [sys.executable, str(package.path / "sample.py")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "input before: always 5" in shown
    assert "[[12. 12. 12.]]" in shown
    (folder / FILE).write_text(json.dumps(DeclaredNetwork({}, {}, {"before": 5}).to_json()))
    with pytest.raises(InvalidArtifactError, match="`values` do not fit"):
        load_session(open_model(folder), CPU)


def test_a_network_that_does_not_run_is_refused_with_its_open_sizes(tmp_path: Path) -> None:
    session = load_session(open_model(write_network(tmp_path / "n")), CPU)
    with pytest.raises(InvalidArtifactError, match="does not run") as refused:
        session.run({"x": np.ones((2, 7), np.float32)})
    assert "leaves open: rows." in (refused.value.hint or "")


def test_the_program_of_a_package_feeds_the_state_back(tmp_path: Path) -> None:
    folder = declared(write_memory(tmp_path / "n"), {"x[1]": 3}, STATE)
    package = lay_out(open_model(folder), CPU, tmp_path / "package", link=False)
    write_sample(package.path / "sample.py", "onnx", "unused", False, 8)
    x = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    np.savez(tmp_path / "in.npz", x=x)

    def shown(*arguments: str) -> str:
        command = [sys.executable, str(package.path / "sample.py"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    text = shown("in.npz")
    assert "y: shape [1, 2, 3]" in text
    assert str(2 * np.cumsum(x, axis=1)) in text
    text = shown()
    assert "taken as ones of shape [1, 3]" in text
    assert "input before: state" in text


def value(name: str, kind: int, shape: list[int | str] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def test_outputs_that_are_no_arrays_are_left_out(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("SplitToSequence", ["x"], ["s"]),
        helper.make_node("Cast", ["x"], ["b"], to=TensorProto.BFLOAT16),
    ]
    others = [
        helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None),
        value("b", TensorProto.BFLOAT16, None),
    ]
    given = [value("x", TensorProto.FLOAT, [2, 2])]
    outputs = [value("y", TensorProto.FLOAT, [2, 2]), *others]
    write_model(tmp_path / "n", helper.make_graph(nodes, "g", given, outputs))
    session = load_session(open_model(tmp_path / "n"), CPU)
    assert list(session.run({"x": np.ones((2, 2), np.float32)})) == ["y"]
    write_model(tmp_path / "m", helper.make_graph(nodes, "g", given, others))
    with pytest.raises(InvalidArtifactError, match=r"no arrays .*: s \(seq.*b \(tensor"):
        load_session(open_model(tmp_path / "m"), CPU)


def test_a_message_has_versions_and_no_places_in_the_library(tmp_path: Path) -> None:
    network = write_network(tmp_path / "n") / "model.onnx"
    model = onnx.load(network)
    model.ir_version = 99
    onnx.save(model, network)
    with pytest.raises(InvalidArtifactError, match="IR version: 99, max supported") as refused:
        load_session(open_model(network.parent), CPU)
    assert "onnxruntime_src" not in refused.value.message


def test_networks_with_subgraphs_functions_and_empty_arrays_run(tmp_path: Path) -> None:
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op, ["x"], [name])], name, [], [value(name, TensorProto.FLOAT, None)]
        )
        for name, op in (("then", "Relu"), ("else", "Neg"))
    }
    twice = helper.make_function(
        "my.ops", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], OPSETS[:1]
    )
    nodes = [
        helper.make_node("If", ["c"], ["z"], **branches),
        helper.make_node("Twice", ["z"], ["y"], domain="my.ops"),
    ]
    inputs = [value("x", TensorProto.FLOAT, ["n", 0]), value("c", TensorProto.BOOL, [])]
    graph = helper.make_graph(nodes, "g", inputs, [value("y", TensorProto.FLOAT, None)])
    write_model(tmp_path / "n", graph, functions=[twice])
    model = open_model(tmp_path / "n")
    runtime = required_runtime(model.kind)
    session = load_session(model, CPU)
    assert runtime.smoke(model, session) == {"outputs": {"y": [1, 0]}}
    node = helper.make_node("Constant", [], ["y"], value_floats=[1.0, 2.0])
    graph = helper.make_graph([node], "g", [], [value("y", TensorProto.FLOAT, [2])])
    write_model(tmp_path / "constant", graph)
    assert load_session(open_model(tmp_path / "constant"), CPU).run({})["y"].tolist() == [1, 2]
