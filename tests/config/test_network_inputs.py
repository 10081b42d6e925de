"""Names of inputs and outputs that a network does not have are told at their keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from paretune.config.network_inputs import check_network_inputs
from paretune.config.plan import EvaluatorChoice
from paretune.data.spec import DataSpec
from paretune.models.declared_network import FILE, DeclaredNetwork
from tests.onnx_networks import write_network


@pytest.mark.parametrize(
    ("inputs", "output", "expected"),
    [
        ({"x": "a"}, "y", []),
        ({"x": "a"}, None, []),
        ({"z": "a"}, "y", [(("data", "d", "inputs", "z"), "the network has no input 'z'")]),
        (
            {"x": "a"},
            "logits",
            [(("evaluate", 0, "classification", "output"), "the network has no output 'logits'")],
        ),
    ],
)
def test_each_name_is_looked_for(
    tmp_path: Path, inputs: dict[str, str], output: str | None, expected: list[Any]
) -> None:
    told: list[Any] = []
    choice = EvaluatorChoice("classification", {"data": "d", "output": output})
    check_network_inputs(
        write_network(tmp_path / "n"),
        {"d": DataSpec(file="d.npz", inputs=inputs), "t": DataSpec(file="t", text="{t}")},
        [choice],
        lambda *wrong: told.append(wrong),
    )
    assert [wrong[:2] for wrong in told] == expected


@pytest.mark.parametrize(
    ("config", "output", "expected"),
    [
        ({"architectures": ["BertForSequenceClassification"]}, "logits", None),
        ({"architectures": ["BertForSequenceClassification"]}, None, None),
        ({"architectures": ["BertForTokenClassification"]}, "scores", "no output 'scores'"),
        ({"architectures": ["XLNetForQuestionAnswering"]}, "start_top_index", None),
        ({"architectures": ["BertModel"]}, "anything", None),
        (
            {"architectures": ["ViTForImageClassification"], "output_attentions": True},
            "attentions_0",
            None,
        ),
    ],
)
def test_outputs_of_an_encoder_are_those_of_its_task(
    tmp_path: Path, config: dict[str, Any], output: str | None, expected: str | None
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    told: list[Any] = []
    choice = EvaluatorChoice("classification", {"data": "d", "output": output})
    data = {"d": DataSpec(file="d.npz", inputs={"input_ids": "a"})}
    check_network_inputs(tmp_path, data, [choice], lambda *wrong: told.append(wrong[1]))
    assert len(told) == (expected is not None)
    assert expected is None or expected in told[0]


def write_pair(folder: Path) -> Path:
    """Write a network with the inputs x and rate and the outputs y and z; returns the folder."""
    folder.mkdir()
    x, y, z = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in ("x", "y", "z")
    )
    rate = helper.make_tensor_value_info("rate", TensorProto.FLOAT, [])
    nodes = [helper.make_node("Mul", ["x", "rate"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]
    graph = helper.make_graph(nodes, "g", [x, rate], [y, z])
    onnx.save(helper.make_model(graph), folder / "model.onnx")
    return folder


def told_of(folder: Path, columns: dict[str, str], *evaluators: str) -> list[Any]:
    told: list[Any] = []
    check_network_inputs(
        folder,
        {"d": DataSpec(file="d.npz", inputs=columns)},
        [EvaluatorChoice(name, {"data": "d"}) for name in evaluators],
        lambda *wrong: told.append(wrong),
    )
    return told


def test_one_of_several_outputs_is_named(tmp_path: Path) -> None:
    folder = write_pair(tmp_path / "n")
    ((key, message, hint),) = told_of(folder, {"x": "a", "rate": "b"}, "agreement", "latency")
    assert key == ("evaluate", 0, "agreement")
    assert message == "the network has the outputs y, z, and none is named"
    assert "output: NAME" in hint


def test_an_input_with_a_value_needs_no_column(tmp_path: Path) -> None:
    folder = write_pair(tmp_path / "n")
    ((_, message, _),) = told_of(folder, {"x": "a"})
    assert message == "the network takes 'rate', too"
    (folder / FILE).write_text(json.dumps(DeclaredNetwork(values={"rate": 1.0}).to_json()))
    assert told_of(folder, {"x": "a"}) == []
