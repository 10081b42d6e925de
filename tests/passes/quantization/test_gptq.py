"""Codes that make up for each other's rounding, over the inputs that they are made for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from paretune.core.errors import PassError
from paretune.passes.quantization.gptq import quantized
from paretune.passes.quantization.grid import Encoded, Grid, decode
from paretune.passes.quantization.scale_search import search_scales

GRIDS = [Grid(bits, 32, symmetric) for bits in (4, 8) for symmetric in (True, False)]
WIDTH = 200  # more columns than are rounded at once, and a part of a block


def _weight() -> Any:
    return torch.randn((24, WIDTH), generator=torch.Generator().manual_seed(0))


def _inputs(unused: int = 0) -> Any:
    generator = torch.Generator().manual_seed(1)
    mixed = torch.randn((WIDTH, WIDTH), generator=generator)
    inputs = torch.randn((600, WIDTH), generator=generator) @ mixed
    inputs[:, :unused] = 0.0
    return inputs


def _error(encoded: Encoded, weight: Any, inputs: Any) -> float:
    return float((inputs @ (decode(encoded) - weight).t()).square().sum())


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_outputs_change_much_less_than_by_rounding_to_the_nearest(grid: Grid) -> None:
    weight, inputs = _weight(), _inputs()
    hessian = inputs.t() @ inputs
    found = quantized(weight, grid, hessian, 0.01)
    nearest = search_scales(weight, grid, hessian.diagonal())
    assert _error(found, weight, inputs) < 0.6 * _error(nearest, weight, inputs)
    assert torch.equal(found.scales, nearest.scales)
    assert torch.equal(found.codes, found.codes.round())
    assert 0 <= float(found.codes.min()) <= float(found.codes.max()) <= grid.highest


def test_independent_inputs_leave_nothing_to_make_up_for() -> None:
    """With a diagonal Hessian no column changes another: the nearest codes are the best."""
    weight = _weight()
    diagonal = torch.arange(1.0, WIDTH + 1)
    found = quantized(weight, Grid(4, 32), torch.diag(diagonal), 0.01)
    nearest = search_scales(weight, Grid(4, 32), diagonal)
    assert torch.equal(found.codes, nearest.codes)


def test_inputs_that_were_always_zero_keep_their_weights() -> None:
    inputs = _inputs(unused=40)
    weight = _weight()
    found = decode(quantized(weight, Grid(8, 32), inputs.t() @ inputs, 0.01))
    assert float((found - weight)[:, :40].norm()) < 0.05 * float(weight[:, :40].norm())


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_blocks_of_next_to_nothing_count_as_zeros(grid: Grid) -> None:
    """Their scales have no reciprocal; the rest of the matrix is rounded as ever."""
    weight, inputs = _weight(), _inputs()
    inputs[:, 32] *= 10  # a zero of such a block is rounded first
    hessian = inputs.t() @ inputs
    weight[3, 32:96] *= 1e-40
    weight[3, 32:96:2] = 0.0
    zeros = weight.clone()
    zeros[3, 32:96] = 0.0
    for found, of_zeros in (
        (quantized(each, grid, hessian, 0.01) for each in (weight, zeros)),
        (search_scales(each, grid, hessian.diagonal()) for each in (weight, zeros)),
    ):
        assert float((decode(found) - decode(of_zeros)).abs().max()) < 1e-36


def test_fewer_inputs_than_columns_are_enough() -> None:
    inputs = _inputs()[:50]
    weight = _weight()
    found = quantized(weight, Grid(4, 32), inputs.t() @ inputs, 0.01)
    nearest = search_scales(weight, Grid(4, 32), inputs.square().sum(0))
    assert _error(found, weight, inputs) < 0.5 * _error(nearest, weight, inputs)


def test_the_number_of_threads_changes_nothing() -> None:
    inputs = _inputs()
    hessian = inputs.t() @ inputs
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(quantized(_weight(), Grid(4, 32), hessian, 0.01))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0].codes, found[1].codes)


def test_inputs_that_are_not_finite_are_refused() -> None:
    hessian = torch.full((WIDTH, WIDTH), float("nan"))
    with pytest.raises(PassError, match="not finite"):
        quantized(_weight(), Grid(4, 32), hessian, 0.01)
