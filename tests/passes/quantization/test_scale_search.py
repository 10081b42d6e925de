"""The scales that are found are never worse than those that span a block."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from paretune.passes.quantization.grid import Encoded, Grid, decode, encode
from paretune.passes.quantization.scale_search import search_scales

GRIDS = [Grid(bits, 32, symmetric) for bits in (4, 8) for symmetric in (True, False)]


def _weight() -> Any:
    return torch.randn((40, 100), generator=torch.Generator().manual_seed(0))


def _errors(weight: Any, encoded: Encoded, importance: Any) -> Any:
    return ((decode(encoded) - weight).square() * importance).sum(1)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_no_row_is_worse_and_their_sum_is_better(grid: Grid) -> None:
    weight, same = _weight(), torch.ones(100)
    found = search_scales(weight, grid)
    before, after = (_errors(weight, each, same) for each in (encode(weight, grid), found))
    assert bool((after <= before * (1 + 1e-5)).all())
    assert float(after.sum()) < 0.97 * float(before.sum())
    assert found.codes.shape == encode(weight, grid).codes.shape
    assert 0 <= float(found.codes.min()) <= float(found.codes.max()) <= grid.highest


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_errors_count_by_the_inputs(grid: Grid) -> None:
    weight = _weight()
    importance = torch.where(torch.arange(100) % 3 == 0, 100.0, 1.0)
    blind, found = search_scales(weight, grid), search_scales(weight, grid, importance)
    after, before = (_errors(weight, each, importance).sum() for each in (found, blind))
    assert float(after) < float(before)


def test_a_block_of_zeros_and_inputs_that_are_always_zero_are_no_special_case() -> None:
    weight = _weight()
    weight[0] = 0.0
    importance = torch.ones(100)
    importance[:64] = 0.0
    found = search_scales(weight, Grid(4, 32), importance)
    after = decode(found)
    assert torch.equal(after[0], weight[0])
    assert bool(torch.isfinite(after).all())
    steps = encode(weight, Grid(4, 32)).scales.abs().repeat_interleave(32, 1)[:, :100]
    assert float(((after - weight).abs() / steps.clamp(min=1e-9)).max()) < 5


def test_it_does_not_depend_on_how_many_rows_there_are() -> None:
    """Rows are worked on in portions."""
    rows = torch.randn((3000, 100), generator=torch.Generator().manual_seed(1))
    whole, part = search_scales(rows, Grid(4, 32)), search_scales(rows[2000:], Grid(4, 32))
    assert torch.equal(whole.codes[2000:], part.codes)
    assert torch.equal(whole.scales[2000:], part.scales)
