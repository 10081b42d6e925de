"""Writes the codes and scales that GPTQ chooses into a build, layer by layer; for workers only.

The network runs in PyTorch on calibration texts. Each decoder layer's matrices are rounded for the
inputs that they get once all layers before it are rounded; what is held is the network, the hidden
states of the texts, and one layer's Hessians. The head's scales are searched for, and those of an
embedding that shares its matrix with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from paretune.core.progress import Progress
from paretune.passes.genai.node_sources import (
    Piece,
    by_node,
    pieces_of_layers,
    require_same,
)
from paretune.passes.genai.quantized_nodes import QuantizedBuild, open_build
from paretune.passes.quantization.gptq import quantized_together
from paretune.passes.quantization.grid import Encoded, Grid, decode, stacked
from paretune.passes.quantization.layer_inputs import (
    entered,
    hessians_of,
    importance_of_head,
    outputs_of,
)
from paretune.passes.quantization.rounding_grid import HEAD
from paretune.passes.quantization.scale_search import search_scales


def calibrate(
    folder: Path,
    network: Any,
    rows: Sequence[Sequence[int]],
    damp_percent: float,
    progress: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Replace the codes and scales of a build's matrices.

    Args:
        folder: The build; its file of weights is changed.
        network: What it was built from, in fp32; used up.
        rows: Calibration texts as token ids.
        damp_percent: See `paretune.passes.quantization.gptq.quantized`.
        progress: Takes the progress.

    Raises:
        PassError: A matrix of the build is not known, or the inputs are not finite.
        InvalidArtifactError: A matrix of the build is not that of the network.
    """
    with torch.no_grad(), open_build(folder) as build:
        layers = network.base_model.layers
        pieces = pieces_of_layers(network, build.nodes)
        for name, of_node in by_node(chain.from_iterable(pieces)).items():
            require_same(build, name, of_node)
        progress(Progress("genai", 0, len(layers), "gptq: rounding the head"))
        _round_head(network, build, rows)
        states, calls = entered(network, rows)
        for number, (layer, of_layer) in enumerate(zip(layers, pieces, strict=True)):
            progress(Progress("genai", number, len(layers), "gptq: rounding a layer"))
            with hessians_of([piece.module for piece in of_layer]) as hessians:
                outputs_of(layer, number, states, calls)
            _round_layer(build, of_layer, hessians, damp_percent)
            states = outputs_of(layer, number, states, calls)
            layers[number] = torch.nn.Identity()  # its rounded weights are not needed any more
            of_layer.clear()


def _round_layer(
    build: QuantizedBuild, pieces: list[Piece], hessians: dict[int, Any], damp_percent: float
) -> None:
    """Round the matrices of a layer, those with the same inputs at once."""
    groups: dict[tuple[int, Grid], list[Piece]] = {}
    for piece in pieces:
        if piece.node is not None:
            inputs = id(hessians[id(piece.module)])
            groups.setdefault((inputs, piece.node.grid), []).append(piece)
    done: dict[Piece, Encoded] = {}
    for (_, grid), members in groups.items():
        hessian = hessians[id(members[0].module)]
        weights = [piece.weight for piece in members]
        found = quantized_together(weights, grid, hessian, damp_percent)
        done |= zip(members, found, strict=True)
    for name, members in by_node(pieces).items():
        build.write(name, stacked([done[piece] for piece in members]))
    for piece, encoded in done.items():
        piece.module.weight.data[piece.rows] = decode(encoded)


def _round_head(network: Any, build: QuantizedBuild, rows: Sequence[Sequence[int]]) -> None:
    """Round the head by scale search, each column counted by its inputs in full precision."""
    node = build.nodes.get(HEAD)
    if node is None:
        return
    head, embedding = network.get_output_embeddings(), network.get_input_embeddings()
    whole = Piece(HEAD, head, slice(0, node.rows), node, 0)
    require_same(build, HEAD, [whole])
    encoded = search_scales(whole.weight, node.grid, importance_of_head(network, rows))
    build.write(HEAD, encoded)
    if build.shares_embedding:
        embedding.weight.data[: node.rows] = decode(encoded)
