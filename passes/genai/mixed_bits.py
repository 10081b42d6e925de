"""Which matrices of a build get 8 bits, by what their rounding costs the model; for workers only.

The budget is a share of what 8 bits cost in all matrices beyond 4 bits in all of them. Within it,
the expected divergence of the build (`paretune.passes.quantization.sensitivity_file`) is as small
as possible: a knapsack problem, whose items are the matrices.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from paretune.core.errors import PassError
from paretune.core.jsontools import Json
from paretune.passes.genai.eight_bits import widen
from paretune.passes.genai.matrix_costs import Costs
from paretune.passes.genai.node_sources import (
    Piece,
    by_node,
    pieces_of_layers,
    require_same,
)
from paretune.passes.genai.quantized_nodes import QuantizedBuild, QuantizedNode, open_build
from paretune.passes.quantization.knapsack import best_items
from paretune.passes.quantization.rounding_grid import HEAD
from paretune.passes.quantization.sensitivity_file import (
    EMBEDDING_NAME,
    HEAD_NAME,
    Sensitivity,
)

_PLACE = re.compile(r"/model/layers\.(\d+)/(.+)/MatMul")

_ROUNDING = {"default": "rounding to the nearest", "gptq": "rounding by GPTQ"}


@dataclass(frozen=True)
class Matrix:
    """A matrix of a build at 4 and at 8 bits.

    Attributes:
        node: The name of its node.
        divergence: Expected divergence (nats per token) if it alone is rounded, by bits.
        cost: What it costs, by bits.
    """

    node: str
    divergence: Mapping[int, float]
    cost: Mapping[int, float]

    @property
    def gain(self) -> float:
        """Expected divergence that 8 bits save."""
        return self.divergence[4] - self.divergence[8]

    @property
    def extra(self) -> float:
        """What 8 bits cost beyond 4; nothing where they cost less."""
        return max(0.0, self.cost[8] - self.cost[4])


def chosen(matrices: Sequence[Matrix], budget: float) -> list[Matrix]:
    """Return the matrices that get 8 bits.

    Args:
        matrices: All of them.
        budget: Share of the extra cost of 8 bits everywhere; 0 is none of them, 1 all.
    """
    if budget <= 0:
        return []
    if budget >= 1:
        return list(matrices)
    extra = [matrix.extra for matrix in matrices]
    taken = best_items([matrix.gain for matrix in matrices], extra, budget * sum(extra))
    return [matrix for matrix, take in zip(matrices, taken, strict=True) if take]


def mix(
    folder: Path, network: Any, measured: Sensitivity, budget: float, costs: Costs
) -> dict[str, Json]:
    """Give those matrices of a 4-bit build 8 bits for which the budget is best spent.

    Args:
        folder: The build; it is rewritten.
        network: What it was built from, in fp32.
        measured: The sensitivity of the network's matrices.
        budget: See `chosen`.
        costs: What a matrix costs.

    Returns:
        What was chosen, for the details of the pass.

    Raises:
        PassError: A matrix of the build is not known, or its sensitivity was not measured.
        InvalidArtifactError: A matrix of the build is not that of the network.
    """
    with open_build(folder) as build:
        sources = _sources(network, build)
        nodes = [build.nodes[node] for node in sources]
        matrices = [
            _matrix(node, sources[node.name], measured, cost)
            for node, cost in zip(nodes, costs.of(nodes), strict=True)
        ]
        eight = chosen(matrices, budget)
        weights = {}
        for matrix in eight:
            pieces = [piece for piece in sources[matrix.node] if piece.node is not None]
            require_same(build, matrix.node, pieces)
            weights[matrix.node] = torch.cat([piece.weight for piece in pieces])
    widen(folder, weights)
    return _details(matrices, eight, costs, _ROUNDING[measured.algorithm])


def _sources(network: Any, build: QuantizedBuild) -> dict[str, list[Piece]]:
    """Return by node what its matrix consists of, in the order of its rows.

    An embedding that reads the head's matrix is listed with it, without a node of its own.
    """
    found = by_node(chain.from_iterable(pieces_of_layers(network, build.nodes)))
    node = build.nodes.get(HEAD)
    if node is not None:
        rows = slice(0, node.rows)
        found[HEAD] = [Piece(HEAD_NAME, network.get_output_embeddings(), rows, node, 0)]
        if build.shares_embedding:
            embedding = network.get_input_embeddings()
            found[HEAD].append(Piece(EMBEDDING_NAME, embedding, rows, None, 0))
    return found


def _matrix(
    node: QuantizedNode,
    pieces: Sequence[Piece],
    measured: Sensitivity,
    cost: Mapping[int, float],
) -> Matrix:
    names = [piece.name for piece in pieces]
    missing = [name for name in names if name not in measured.derivatives[4]]
    if missing:
        raise PassError(
            f"genai: budget: the sensitivity of {missing[0]} was not measured",
            hint="Put `sensitivity` directly before genai.",
        )
    return Matrix(
        node.name,
        {bits: measured.divergence(names, bits) for bits in (4, 8)},
        cost,
    )


def _details(
    matrices: Sequence[Matrix], eight: Sequence[Matrix], costs: Costs, rounding: str
) -> dict[str, Json]:
    wide = {matrix.node for matrix in eight}
    expected = sum(m.divergence[8 if m.node in wide else 4] for m in matrices)
    none, whole = (sum(m.divergence[bits] for m in matrices) for bits in (4, 8))
    extra = sum(m.extra for m in matrices)
    total = sum(m.cost[8 if m.node in wide else 4] for m in matrices)
    least, most = (sum(m.cost[bits] for m in matrices) for bits in (4, 8))
    share = sum(m.extra for m in eight) / extra if extra else 0.0
    return {
        "summary": f"8 bits in {len(eight)} of {len(matrices)} matrices, for {share:.1%} of their "
        f"extra {costs.name} ({costs.shown(total)}; all at 4 bits {costs.shown(least)}, all at 8 "
        f"bits {costs.shown(most)}); expected divergence of {rounding} {expected:.3g} "
        f"nats per token (all at 4 bits {none:.3g}, all at 8 bits {whole:.3g})",
        "expected_kl_per_token": expected,
        "budget_spent": share,
        "bits": _bits_by_layer(matrices, wide),
    }


def _bits_by_layer(matrices: Sequence[Matrix], wide: Collection[str]) -> dict[str, Json]:
    """Return the bits of each kind of matrix, layer by layer; null where a layer has none."""
    found: dict[str, dict[int, int]] = {}
    others: dict[str, Json] = {}
    for matrix in matrices:
        bits, place = 8 if matrix.node in wide else 4, _PLACE.fullmatch(matrix.node)
        if place is None:
            others[matrix.node.removesuffix("/MatMul").strip("/")] = bits
        else:
            found.setdefault(place[2], {})[int(place[1])] = bits
    layers = 1 + max((layer for each in found.values() for layer in each), default=-1)
    rows = {name: [each.get(layer) for layer in range(layers)] for name, each in found.items()}
    return {"rows": rows, "others": others}
