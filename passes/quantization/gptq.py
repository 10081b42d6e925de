"""GPTQ: codes that make up for each other's rounding (Frantar et al., arXiv 2210.17323).

The columns of a matrix are rounded one after the other. What rounding a column changes in the
layer's outputs, over calibration inputs, is taken back as well as possible by the columns that are
not rounded yet: the correction is that of the least squares problem, whose Hessian is the sum of
the inputs' outer products. Here:

- Columns with the largest inputs come first ("activation order"). Each keeps its place in the
  matrix, and its block's scale, which is chosen before any column is rounded ("static groups"): the
  result is a matrix that MatMulNBits holds, at no cost when it runs.
- Scales are those with the smallest rounding error over the calibration inputs
  (`paretune.passes.quantization.scale_search`).
- A share of the Hessian's mean diagonal is added to its diagonal ("damping").

All of it is computed in PyTorch, in fp32. For workers only.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch

from paretune.core.errors import PassError
from paretune.passes.quantization.grid import Encoded, Grid, reciprocals, rows_of
from paretune.passes.quantization.one_thread import one_thread
from paretune.passes.quantization.scale_search import search_scales

_COLUMNS = 128
"""Columns whose corrections are collected before the rest of the matrix gets them."""
_MOST_DAMPING = 1.0


def quantized(weight: Any, grid: Grid, hessian: Any, damp_percent: float) -> Encoded:
    """Return a matrix's codes and scales.

    Args:
        weight: fp32, (outputs, inputs).
        grid: What it is rounded to.
        hessian: fp32, (inputs, inputs): the sum of the calibration inputs' outer products.
        damp_percent: The share of the mean diagonal that is added, between 0 and 1.

    Raises:
        PassError: The Hessian has no inverse even with much damping: inputs are not finite.
    """
    importance = hessian.diagonal()
    chosen = search_scales(weight, grid, importance)
    order = torch.argsort(importance, descending=True, stable=True)
    factor = _factor(hessian[order][:, order], damp_percent)
    with one_thread():
        codes = _rounded(weight.t()[order].contiguous(), chosen, grid, order, factor)
    in_place = chosen.codes.flatten(1)  # behind the width it holds the filling
    in_place[:, order] = codes.t()
    return Encoded(in_place.view_as(chosen.codes), chosen.scales, chosen.zero_points, len(order))


def quantized_together(
    weights: Sequence[Any], grid: Grid, hessian: Any, damp_percent: float
) -> list[Encoded]:
    """Return the codes and scales of matrices with the same inputs, whose Hessian is used once.

    Args:
        weights: Each as `quantized` takes it.
        grid: What they are rounded to.
        hessian: Of their inputs.
        damp_percent: As of `quantized`.

    Raises:
        PassError: As of `quantized`.
    """
    encoded = quantized(torch.cat(list(weights)), grid, hessian, damp_percent)
    places = pairwise(accumulate(map(len, weights), initial=0))
    return [rows_of(encoded, slice(*place)) for place in places]


def _rounded(rest: Any, chosen: Encoded, grid: Grid, order: Any, factor: Any) -> Any:
    """Return the codes of columns that are rounded one after the other.

    Args:
        rest: The columns in their order, each of them a row here; it is used up.
        chosen: With the scales and zero points.
        grid: Whose codes they are.
        order: The place of each column in the matrix.
        factor: Of the inverse Hessian, in that order.
    """
    blocks = (order // grid.block_size).tolist()
    scales, zero_points = chosen.scales.t().contiguous(), chosen.zero_points.t().contiguous()
    inverse = reciprocals(scales)
    diagonal = factor.diagonal().tolist()
    codes = torch.empty_like(rest)
    for start in range(0, len(rest), _COLUMNS):
        end = min(start + _COLUMNS, len(rest))
        errors = torch.empty_like(rest[start:end])
        for i in range(start, end):
            block, column = blocks[i], rest[i]
            code = torch.addcmul(zero_points[block], column, inverse[block])
            codes[i] = code.add_(0.5).floor_().clamp_(0, grid.highest)
            error = column - code.sub_(zero_points[block]).mul_(scales[block])
            errors[i - start] = error.div_(diagonal[i])
            rest[i + 1 : end].addr_(factor[i, i + 1 : end], error, alpha=-1)
        rest[end:].addmm_(factor[start:end, end:].t(), errors, alpha=-1)
    return codes


def _factor(hessian: Any, damp_percent: float) -> Any:
    """Return the upper Cholesky factor of the damped Hessian's inverse."""
    diagonal = hessian.diagonal()
    unused = diagonal == 0  # inputs that were never anything but zero: nothing to make up for
    mean = float(diagonal.mean())
    damped = hessian.clone()
    damped.diagonal()[unused] = mean or 1.0
    share = damp_percent
    while True:
        attempt = damped.clone()
        attempt.diagonal().add_(share * mean)
        lower, failed = torch.linalg.cholesky_ex(attempt)
        if not failed:
            upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
            if not failed:
                return upper
        if not share <= _MOST_DAMPING or not torch.isfinite(attempt).all():
            raise PassError(
                "gptq: the inputs of a matrix over the calibration texts are not finite",
                hint="Check the model: its weights may hold a NaN or be too large for fp32.",
            )
        share = max(10 * share, 1e-3)
