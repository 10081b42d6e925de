"""Names of inputs and outputs that a network does not have are told at their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paretune.config.network_inputs import check_network_inputs
from paretune.config.plan import EvaluatorChoice
from paretune.data.spec import DataSpec
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
