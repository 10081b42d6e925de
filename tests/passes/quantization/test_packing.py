"""What is packed is what onnxruntime's MatMulNBits multiplies with."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

from paretune.passes.quantization.grid import Grid, decode, encode
from paretune.passes.quantization.packing import Packed, packed, unpacked

GRIDS = [
    Grid(bits, block_size, symmetric)
    for bits in (4, 8)
    for block_size in (16, 32)
    for symmetric in (True, False)
]
WIDTHS = (96, 40)  # 3 blocks of 32, an odd number, and a part of a block


def _matrix(width: int) -> Any:
    return torch.randn((24, width), generator=torch.Generator().manual_seed(0))


def _multiplied(held: Packed, grid: Grid, width: int) -> Any:
    """Return the matrix as the runtime multiplies with it: its product with the unit matrix."""
    tensors = {"codes": held.codes, "scales": held.scales}
    if held.zero_points is not None:
        tensors["zeros"] = held.zero_points
    node = helper.make_node(
        "MatMulNBits",
        ["x", *tensors],
        ["y"],
        domain="com.microsoft",
        K=width,
        N=len(held.scales),
        bits=grid.bits,
        block_size=grid.block_size,
        accuracy_level=1,
    )
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [width, width])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [width, len(held.scales)])],
        [numpy_helper.from_array(tensor.numpy(), name) for name, tensor in tensors.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return torch.tensor(session.run(None, {"x": np.eye(width, dtype=np.float32)})[0]).t()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_the_runtime_multiplies_with_the_decoded_matrix(grid: Grid, width: int) -> None:
    encoded = encode(_matrix(width), grid)
    found = _multiplied(packed(encoded, grid), grid, width)
    assert torch.allclose(found, decode(encoded), atol=1e-6)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_unpacking_gives_back_what_was_packed(grid: Grid, width: int) -> None:
    encoded = encode(_matrix(width), grid)
    found = unpacked(packed(encoded, grid), grid, width)
    for name in ("codes", "scales", "zero_points"):
        assert torch.equal(getattr(found, name), getattr(encoded, name))
