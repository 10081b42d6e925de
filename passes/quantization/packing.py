"""Codes and zero points as MatMulNBits and GatherBlockQuantized hold them; for workers only.

Codes are bytes (rows, blocks, block size * bits / 8), scales fp32 (rows, blocks). Two codes of
4 bits share a byte, the first one in its lower half; so do two zero points, each row filled up to
whole bytes. Without zero points the grid is symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from paretune.passes.quantization.grid import Encoded, Grid


@dataclass(frozen=True)
class Packed:
    """A matrix's tensors in a file.

    Attributes:
        codes: uint8, (rows, blocks, bytes of a block).
        scales: fp32, (rows, blocks).
        zero_points: uint8, (rows, bytes); None: the grid is symmetric.
    """

    codes: Any
    scales: Any
    zero_points: Any


def packed(encoded: Encoded, grid: Grid) -> Packed:
    """Return the tensors of a matrix in a grid.

    Args:
        encoded: The matrix.
        grid: Whose codes they are.
    """
    zero_points = None if grid.symmetric else _joined(encoded.zero_points.to(torch.uint8), grid)
    return Packed(_joined(encoded.codes.to(torch.uint8), grid), encoded.scales, zero_points)


def unpacked(held: Packed, grid: Grid, width: int) -> Encoded:
    """Return the matrix that a file's tensors hold.

    Args:
        held: The tensors.
        grid: Whose codes they are.
        width: Length of a row.
    """
    rows, blocks = held.scales.shape
    codes = _apart(held.codes, grid).float()
    if held.zero_points is None:
        zero_points = torch.full_like(held.scales, 1 << (grid.bits - 1))
    else:
        zero_points = _apart(held.zero_points.view(rows, -1), grid).float()[:, :blocks]
    return Encoded(codes, held.scales, zero_points.contiguous(), width)


def _joined(values: Any, grid: Grid) -> Any:
    if grid.bits == 8:
        return values
    if values.shape[-1] % 2:
        values = torch.nn.functional.pad(values, (0, 1))
    return values[..., 0::2] | (values[..., 1::2] << 4)


def _apart(held: Any, grid: Grid) -> Any:
    if grid.bits == 8:
        return held
    return torch.stack([held & 15, held >> 4], -1).flatten(-2)
