"""Codes and scales are those of onnxruntime's quantizer, without exception."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from onnxruntime.capi import _pybind_state as kernels

from paretune.passes.quantization.grid import Grid, decode, encode, rounded

GRIDS = [
    Grid(bits, block_size, symmetric)
    for bits in (4, 8)
    for block_size in (16, 32, 128)
    for symmetric in (True, False)
]


def _by_onnxruntime(weight: Any, grid: Grid) -> tuple[Any, Any, Any]:
    """Return codes, scales and zero points as the kernel behind the builder's quantizer writes."""
    rows, width = weight.shape
    blocks, per_byte = -(-width // grid.block_size), 8 // grid.bits
    columns = np.pad(weight.numpy().T, ((0, blocks * grid.block_size - width), (0, 0)))
    codes = np.zeros((rows, blocks, grid.block_size // per_byte), np.uint8)
    scales = np.zeros((rows, blocks), np.float32)
    zeros = np.zeros((rows, -(-blocks // per_byte)), np.uint8)
    quantize = getattr(kernels, f"quantize_matmul_{grid.bits}bits")
    how = (grid.block_size, rows, columns.shape[0], grid.symmetric)
    quantize(codes, np.ascontiguousarray(columns), scales, zeros, *how)
    if grid.bits == 4:
        codes = np.stack([codes & 15, codes >> 4], -1).reshape(rows, blocks, -1)
        zeros = np.stack([zeros & 15, zeros >> 4], -1).reshape(rows, -1)[:, :blocks]
    return codes, scales, zeros


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("shape", [(96, 512), (40, 100)], ids=["whole blocks", "a part of one"])
def test_each_code_and_scale_is_the_quantizers(grid: Grid, shape: tuple[int, int]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.05
    weight[0] = 0.0
    weight[1] = weight[1].abs()
    weight[2] = -weight[2].abs()
    # Onto halves between two codes, and equal magnitudes of both signs.
    weight[3] = torch.arange(shape[1]) % 16 / 2 - 4
    weight[4, 1::2] = -weight[4, ::2]
    # So small that a scale has no reciprocal, with zeros among them.
    weight[5] *= 1e-37
    weight[6] *= 1e-39
    weight[6, ::3] = 0.0
    codes, scales, zero_points = _by_onnxruntime(weight, grid)
    found = encode(weight, grid)
    assert torch.equal(found.scales, torch.tensor(scales))
    if not grid.symmetric:
        assert torch.equal(found.zero_points, torch.tensor(zero_points).float())
    of_weights = found.codes.flatten(1)[:, : shape[1]]
    theirs = torch.tensor(codes).flatten(1)[:, : shape[1]].float()
    assert torch.equal(of_weights, theirs)
    assert float((decode(found) - weight)[5:7].abs().max()) < 1e-36


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_rounding_moves_a_weight_by_a_step_at_most(grid: Grid) -> None:
    weight = torch.randn((8, 100), generator=torch.Generator().manual_seed(1))
    encoded = encode(weight, grid)
    after = decode(encoded)
    assert after.shape == weight.shape
    steps = encoded.scales.abs().repeat_interleave(grid.block_size, dim=1)[:, :100]
    assert bool(((after - weight).abs() <= 1.001 * steps).all())
    assert torch.equal(after, rounded(weight, grid))
    assert not torch.equal(after, weight)
