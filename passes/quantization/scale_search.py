"""Scales with the smallest rounding error, found by trying; in PyTorch, for workers only.

A block's largest value asks for a scale that makes the steps between all of its weights wide. A
smaller scale cuts that value off, and rounds the others better. Several are tried for each block,
and the one with the smallest sum of squared errors is kept, each weight's error counted by how
large the inputs are that it is multiplied with. Of a symmetric grid, whose codes reach one step
further to one side, both directions are tried.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad

from paretune.passes.quantization.grid import Encoded, Grid, encode, reciprocals, stacked
from paretune.passes.quantization.one_thread import one_thread

_FACTORS = tuple(1 - 0.03 * step for step in range(15))
"""Of the scale that spans a block's values."""
_AT_ONCE = 1 << 16
"""Weights that are worked on at once: what is computed of them stays in the processor's cache."""


def search_scales(weight: Any, grid: Grid, importance: Any = None) -> Encoded:
    """Return a matrix's nearest codes with the best scales that were found.

    Args:
        weight: fp32, (outputs, inputs).
        grid: What it is rounded to.
        importance: What the squared error of each column counts, (inputs,); None: all the same.
    """
    some = max(1, _AT_ONCE // weight.shape[1])
    with one_thread():
        return stacked([_of_rows(rows, grid, importance) for rows in weight.split(some)])


def _of_rows(weight: Any, grid: Grid, importance: Any) -> Encoded:
    first = encode(weight, grid)
    rows, blocks = first.scales.shape
    missing = blocks * grid.block_size - first.width
    values = pad(weight, (0, missing)).view(rows, blocks, grid.block_size)
    # A column of the filling, or one whose inputs were always zero, must not count as nothing: a
    # block of such columns only would take any scale.
    counts = torch.ones(first.width) if importance is None else importance.clone()
    counts = counts + 1e-2 * counts.mean() + torch.finfo(torch.float32).tiny
    counts = pad(counts, (0, missing)).view(1, blocks, grid.block_size)
    best = _Best(values, counts, grid, first)
    spans = (first.scales, _other_way(values, grid)) if grid.symmetric else (first.scales,)
    for span in spans:
        for factor in _FACTORS:
            best.offer(span * factor, first.zero_points)
    best.refine()
    return Encoded(best.codes(), best.scales, best.zero_points, first.width)


def _other_way(values: Any, grid: Grid) -> Any:
    """Return the scales with which the value of largest magnitude has the highest code."""
    low, high = values.amin(2), values.amax(2)
    return torch.where(high.abs() > low.abs(), high, low) / ((1 << (grid.bits - 1)) - 1)


class _Best:
    """The best scale and zero point of each block so far."""

    def __init__(self, values: Any, counts: Any, grid: Grid, first: Encoded) -> None:
        self.values, self.counts, self.grid = values, counts, grid
        self.scales, self.zero_points = first.scales, first.zero_points
        self.error = self._error(first.scales, first.zero_points)

    def offer(self, scales: Any, zero_points: Any) -> None:
        """Take the blocks whose error is smaller so."""
        error = self._error(scales, zero_points)
        better = error < self.error
        self.scales = torch.where(better, scales, self.scales)
        self.zero_points = torch.where(better, zero_points, self.zero_points)
        self.error = torch.where(better, error, self.error)

    def refine(self) -> None:
        """Offer the scales that suit the codes best (least squares)."""
        steps = self._steps(self.scales, self.zero_points)
        weighted = steps * self.counts
        below = (weighted * steps).sum(2)
        above = (weighted * self.values).sum(2)
        self.offer(torch.where(below > 0, above / below, self.scales), self.zero_points)

    def codes(self) -> Any:
        """Return the nearest codes with these scales."""
        return self._steps(self.scales, self.zero_points).add_(self.zero_points.unsqueeze(2))

    def _steps(self, scales: Any, zero_points: Any) -> Any:
        """Return the nearest codes, less their zero points."""
        inverse = reciprocals(scales).unsqueeze(2)
        zeros = zero_points.unsqueeze(2)
        codes = torch.addcmul(zeros, self.values, inverse)
        return codes.add_(0.5).floor_().clamp_(0, self.grid.highest).sub_(zeros)

    def _error(self, scales: Any, zero_points: Any) -> Any:
        off = self._steps(scales, zero_points).mul_(scales.unsqueeze(2)).sub_(self.values)
        return off.square_().mul_(self.counts).sum(2)
