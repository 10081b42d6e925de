"""The grid that MatMulNBits holds, as onnxruntime's default quantizer chooses it; in PyTorch.

A row of a matrix is cut into blocks of inputs, filled up with zeros at its end. Each block has a
scale, and a zero point unless the grid is symmetric: a weight is ``(code - zero_point) * scale``.

- symmetric: the scale is the value of largest magnitude divided by ``-2 ** (bits - 1)``, and the
  zero point ``2 ** (bits - 1)``.
- asymmetric: scale and zero point span the block's lowest to its highest value, zero included.

What is computed here is, number by number, what the quantizer's kernels compute (a product with the
reciprocal of the scale, not a division; halves are rounded up), so that codes and scales are equal
without exception. For workers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad


@dataclass(frozen=True)
class Grid:
    """How the blocks of a matrix are rounded.

    Attributes:
        bits: Of a code: 4 or 8.
        block_size: Weights that share a scale.
        symmetric: Whether the zero point is fixed.
    """

    bits: int
    block_size: int
    symmetric: bool = True

    @property
    def highest(self) -> int:
        """The highest code."""
        return (1 << self.bits) - 1


@dataclass(frozen=True)
class Encoded:
    """A matrix in a grid.

    Attributes:
        codes: Whole numbers as fp32, (rows, blocks, block size).
        scales: (rows, blocks), fp32.
        zero_points: Whole numbers as fp32, (rows, blocks).
        width: Length of a row; what lies behind it in the last block is filling.
    """

    codes: Any
    scales: Any
    zero_points: Any
    width: int


def encode(weight: Any, grid: Grid) -> Encoded:
    """Return a matrix's nearest codes, and the scales that its values ask for.

    Args:
        weight: fp32, (outputs, inputs), as PyTorch's linear layers hold it.
        grid: How it is rounded.
    """
    rows, width = weight.shape
    blocks = -(-width // grid.block_size)
    missing = blocks * grid.block_size - width
    filled = pad(weight, (0, missing)) if missing else weight.contiguous()
    values = filled.view(rows, blocks, grid.block_size)
    low, high = values.amin(2), values.amax(2)  # ten times as fast as aminmax
    if grid.symmetric:
        half = 1 << (grid.bits - 1)
        scales = torch.where(high.abs() > low.abs(), high, low) / -half
        zero_points = torch.full_like(scales, half)
    else:
        low, high = low.clamp(max=0.0), high.clamp(min=0.0)
        scales = (high - low) / grid.highest
        zero_points = torch.where(scales != 0, -low / scales, low)
        zero_points = (zero_points + 0.5).floor_().clamp_(0, grid.highest)
    inverse = torch.where(scales != 0, 1 / scales, 0.0)
    codes = values * inverse.unsqueeze(2)
    codes += zero_points.unsqueeze(2)
    if inverse.isinf().any():  # a zero times infinity: the kernels write a code of 0
        codes.nan_to_num_()
    codes.add_(0.5).floor_().clamp_(0, grid.highest)
    return Encoded(codes, scales, zero_points, width)


def reciprocals(scales: Any) -> Any:
    """Return what a weight is multiplied with to find its code; 0 where no number is that large.

    Such a block holds zeros, or numbers below 1e-36.
    """
    found = 1 / scales
    return torch.where(found.isinf(), 0.0, found)


def decode(encoded: Encoded) -> Any:
    """Return the matrix that codes stand for, in fp32."""
    return _decoded(encoded, encoded.codes.clone())


def rows_of(encoded: Encoded, rows: slice) -> Encoded:
    """Return some rows of a matrix in a grid."""
    return Encoded(
        encoded.codes[rows], encoded.scales[rows], encoded.zero_points[rows], encoded.width
    )


def stacked(parts: list[Encoded]) -> Encoded:
    """Return matrices in the same grid as one, one below the other."""
    codes, scales, zero_points = (
        torch.cat([getattr(part, name) for part in parts])
        for name in ("codes", "scales", "zero_points")
    )
    return Encoded(codes, scales, zero_points, parts[0].width)


def rounded(weight: Any, grid: Grid) -> Any:
    """Return a matrix as it is after rounding: ``decode(encode(weight))``."""
    encoded = encode(weight, grid)
    return _decoded(encoded, encoded.codes)  # in place: large matrices are written often here


def _decoded(encoded: Encoded, codes: Any) -> Any:
    codes.sub_(encoded.zero_points.unsqueeze(2)).mul_(encoded.scales.unsqueeze(2))
    return codes.flatten(1)[:, : encoded.width].contiguous()
