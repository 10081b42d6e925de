"""What rounding changes in each matrix of a network, by bits; in PyTorch, for workers only.

Errors are held in bf16, since sums over whole matrices are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import torch

from paretune.core.progress import Progress
from paretune.passes.genai.node_sources import Piece, pieces_of_layers
from paretune.passes.quantization.gptq import quantized_together
from paretune.passes.quantization.grid import Grid, decode, rounded
from paretune.passes.quantization.layer_inputs import (
    entered,
    hessians_of,
    importance_of_head,
    outputs_of,
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
        return _errors((rounded(weight, grid) for grid in grids), grids, weight)

    pieces = chain.from_iterable(pieces_of_layers(network, {}))
    found = {piece.name: errors(piece.weight) for piece in pieces}
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
        searched = (decode(search_scales(head, grid, importance)) for grid in grids)
        return found | {HEAD_NAME: _errors(searched, grids, head)}


def _layers_by_gptq(
    network: Any,
    rows: Sequence[Sequence[int]],
    grids: Sequence[Grid],
    damp_percent: float,
    progress: Callable[[Progress], None],
) -> Iterator[tuple[str, Errors]]:
    layers = network.base_model.layers
    of_layers = pieces_of_layers(network, {})
    states, calls = entered(network, rows)
    for number, (layer, pieces) in enumerate(zip(layers, of_layers, strict=True)):
        progress(Progress("sensitivity", number, len(layers), "gptq: rounding a layer"))
        with hessians_of([piece.module for piece in pieces]) as hessians:
            states = outputs_of(layer, number, states, calls)
        groups: dict[int, list[Piece]] = {}
        for piece in pieces:
            groups.setdefault(id(hessians[id(piece.module)]), []).append(piece)
        for members in groups.values():
            hessian = hessians[id(members[0].module)]
            weights = [piece.weight for piece in members]
            by_grid = [quantized_together(weights, g, hessian, damp_percent) for g in grids]
            for piece, *chosen in zip(members, *by_grid, strict=True):
                yield piece.name, _errors(map(decode, chosen), grids, piece.weight)


def _errors(rounded_to: Iterable[Any], grids: Sequence[Grid], weight: Any) -> Errors:
    """Return a matrix's errors; what it is rounded to is used up, one after the other."""
    return {
        grid.bits: values.sub_(weight).to(torch.bfloat16)
        for grid, values in zip(grids, rounded_to, strict=True)
    }
