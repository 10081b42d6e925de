"""Inputs that pick rows of tables are found through what only passes them on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from paretune.models.onnx_indices import index_limits


def test_the_smallest_table_that_an_input_picks_from(tmp_path: Path) -> None:
    node, info = helper.make_node, helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            node("Cast", ["ids"], ["wide"], to=TensorProto.INT64),
            node("Gather", ["words", "wide"], ["a"]),
            node("Constant", [], ["table"], value=numpy_helper.from_array(np.ones((4, 7)), "t")),
            node("Gather", ["table", "ids"], ["b"], axis=1),
            node("Gather", ["x", "at"], ["c"]),
            node("Add", ["mask", "mask"], ["d"]),
        ],
        "lookups",
        [
            info("ids", TensorProto.INT32, ["n"]),
            info("at", TensorProto.INT64, [1]),
            info("x", TensorProto.FLOAT, [3]),
            info("mask", TensorProto.INT64, [3]),
        ],
        [info(name, TensorProto.FLOAT, None) for name in "abcd"],
        [numpy_helper.from_array(np.ones((50, 2), np.float32), "words")],
    )
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    assert index_limits(tmp_path / "model.onnx") == {"ids": 7}
