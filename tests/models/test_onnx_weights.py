"""Networks are read with their weights, whatever links lead to these, and only if all are there."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from paretune.core.errors import UsageError
from paretune.models.containment import named_by_onnx
from paretune.models.onnx_weights import load_network
from paretune.passes.onnx.network import is_large

WEIGHTS = {"table": np.arange(600, dtype=np.float32), "inner": np.arange(300, dtype=np.float32)}


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A network whose weights lie beside it: a stored one, and one in a branch."""
    info = helper.make_tensor_value_info
    branches = [
        helper.make_graph(
            [helper.make_node("Identity", [name], [f"{which}_y"])],
            which,
            [],
            [info(f"{which}_y", TensorProto.FLOAT, [None])],
            [numpy_helper.from_array(WEIGHTS[name], name)] if name == "inner" else [],
        )
        for which, name in (("then", "inner"), ("else", "table"))
    ]
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])],
        "network",
        [info("c", TensorProto.BOOL, [])],
        [info("y", TensorProto.FLOAT, [None])],
        [numpy_helper.from_array(WEIGHTS["table"], "table")],
    )
    file = tmp_path / "model.onnx"
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save_model(made, file, save_as_external_data=True, location="w.bin", size_threshold=0)
    return file


def test_weights_with_several_links_are_read(network: Path) -> None:
    os.link(network.parent / "w.bin", network.parent / "again.bin")
    graph = load_network(network).graph
    found = [*graph.initializer]
    for attribute in graph.node[0].attribute:
        found += attribute.g.initializer
    assert sorted(tensor.name for tensor in found) == ["inner", "table"]
    for tensor in found:
        assert (numpy_helper.to_array(tensor) == WEIGHTS[tensor.name]).all()
        assert not tensor.external_data


def test_weights_that_end_too_early_are_refused(network: Path) -> None:
    data = network.parent / "w.bin"
    whole = data.read_bytes()
    data.write_bytes(whole[:-1])
    with pytest.raises(UsageError, match=rf"'w.bin' with {len(whole)} bytes .* {len(whole) - 1}"):
        named_by_onnx(network)
    data.write_bytes(whole)
    assert named_by_onnx(network) == {data}


@pytest.mark.parametrize(("rows", "large"), [(1 << 19, False), (5 << 28, True)])
def test_the_size_of_a_network_is_known_beyond_what_a_message_holds(rows: int, large: bool) -> None:
    weights = TensorProto(name="w", dims=[rows, 1], data_type=TensorProto.FLOAT)  # without its data
    node = helper.make_node("Constant", [], ["w"], value=weights)
    made = helper.make_model(helper.make_graph([node], "network", [], []))
    assert is_large(made) is large
