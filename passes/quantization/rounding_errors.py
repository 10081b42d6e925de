"""What rounding changes in each matrix of a network, by bits; in PyTorch, for workers only.

Errors are held in bf16, since sums over whole matrices are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from paretune.core.progress import Progress
from paretune.passes.genai.node_sources import Piece, pieces_of_layers
from paretune.passes.quantization.gptq import quantized
from paretune.passes.quantization.grid import Encoded, Grid, decode, rounded
from paretune.passes.quantization.layer_inputs import (
    entered,
    hessians_of,
    importance_of_head,
    output_of,
)
from paretune.passes.quantization.scale_search import search_scales
from paretune.passes.quantization.sensitivity_file import HEAD_NAME

Errors = Mapping[int, Any]
"""By bits."""


def nearest_errors(network: Any, grids: Sequence[Grid]) -> dict[str, Errors]:
    """Return what rounding to the nearest changes in each matrix, by its name.

    Args:
        network: A causal language model of a known architecture, in fp32.
        grids: What is rounded to, one for each number of bits.
    """

    def errors(weight: Any) -> Errors:
        return {grid.bits: _less(rounded(weight, grid), weight) for grid in grids}

    found = {piece.name: errors(piece.weight) for each in _pieces(network) for piece in each}
    return found | {HEAD_NAME: errors(network.get_output_embeddings().weight.detach())}


def gptq_errors(
    network: Any,
    rows: Sequence[Sequence[int]],
    grids: Sequence[Grid],
    damp_percent: float,
    progress: Callable[[Progress], None] = lambda _: None,
) -> dict[str, Errors]:
    """Return what GPTQ changes in each matrix, by its name.

    Each matrix is rounded for the inputs that it gets in full precision, and the head by scale
    search.

    Args:
        network: A causal language model of a known architecture, in fp32.
        rows: Calibration texts as token ids.
        grids: What is rounded to, one for each number of bits.
        damp_percent: See `paretune.passes.quantization.gptq.quantized`.
        progress: Takes the progress.

    Raises:
        PassError: The inputs of a matrix are not finite.
    """
    with torch.no_grad():
        found = dict(_layers_by_gptq(network, rows, grids, damp_percent, progress))
        head = network.get_output_embeddings().weight.detach()
        importance = importance_of_head(network, rows)
        searched = (search_scales(head, grid, importance) for grid in grids)
        return found | {HEAD_NAME: _errors(searched, grids, head)}


def _layers_by_gptq(
    network: Any,
    rows: Sequence[Sequence[int]],
    grids: Sequence[Grid],
    damp_percent: float,
    progress: Callable[[Progress], None],
) -> Iterator[tuple[str, Errors]]:
    layers = network.base_model.layers
    states, calls = entered(network, rows)
    for number, (layer, pieces) in enumerate(zip(layers, _pieces(network), strict=True)):
        progress(Progress("sensitivity", number, len(layers), "gptq: rounding a layer"))
        with hessians_of([piece.module for piece in pieces]) as hessians:
            states = [output_of(layer, s, c[number]) for s, c in zip(states, calls, strict=True)]
        for piece in pieces:
            hessian = hessians[id(piece.module)]
            chosen = (quantized(piece.weight, grid, hessian, damp_percent) for grid in grids)
            yield piece.name, _errors(chosen, grids, piece.weight)


def _errors(chosen: Iterator[Encoded], grids: Sequence[Grid], weight: Any) -> Errors:
    return {
        grid.bits: _less(decode(encoded), weight)
        for grid, encoded in zip(grids, chosen, strict=True)
    }


def _less(rounded_to: Any, weight: Any) -> Any:
    return (rounded_to - weight).to(torch.bfloat16)


def _pieces(network: Any) -> list[list[Piece]]:
    return pieces_of_layers(network, {})
