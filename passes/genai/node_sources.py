"""Which node of a build holds which rows of which linear layer of the network; for workers only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from paretune.core.errors import InvalidArtifactError, PassError
from paretune.passes.genai.quantized_nodes import QuantizedBuild, QuantizedNode
from paretune.passes.quantization.grid import decode, rows_of
from paretune.passes.quantization.rounding_grid import HEAD

_PARTS = {"self_attn": "attn", "mlp": "mlp"}
"""What a build calls the parts of a decoder layer."""
_QKV = ("q_proj", "k_proj", "v_proj")
_GATE_UP = ("gate_proj", "up_proj")
_FUSED = "qkv_proj"
_SLACK = 1.001
_NOTHING = 1e-36
"""What is smaller is not held to its grid: a scale of it may have no reciprocal."""
_ROWS = 4096
"""Rows that are compared at once, so that memory does not grow with a vocabulary."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Rows of a linear layer, and where a build has them.

    Attributes:
        name: What a build without fused matrices calls it (``/model/layers.0/attn/q_proj``).
        module: The linear layer.
        rows: Which of its rows.
        node: The node that holds them; None: the build leaves them in full precision.
        first: The row of the node's matrix that they begin at.
    """

    name: str
    module: Any
    rows: slice
    node: QuantizedNode | None
    first: int

    @property
    def weight(self) -> Any:
        """The rows, fp32."""
        return self.module.weight.detach()[self.rows]


def by_node(pieces: Iterable[Piece]) -> dict[str, list[Piece]]:
    """Return by node what its matrix consists of, in the order of its rows."""
    found: dict[str, list[Piece]] = {}
    for piece in pieces:
        if piece.node is not None:
            found.setdefault(piece.node.name, []).append(piece)
    for members in found.values():
        members.sort(key=lambda piece: piece.first)
    return found


def pieces_of_layers(network: Any, nodes: Mapping[str, QuantizedNode]) -> list[list[Piece]]:
    """Return of each decoder layer what its linear layers are in a build.

    Args:
        network: A causal language model of a known architecture.
        nodes: The build's rounded products, by name.

    Raises:
        PassError: A rounded product is not one of the network's layers or its head.
    """
    found = []
    for number, layer in enumerate(network.base_model.layers):
        found.append(list(_pieces_of_layer(network.config, number, layer, nodes)))
    known = {piece.node.name for pieces in found for piece in pieces if piece.node is not None}
    unknown = sorted(nodes.keys() - known - {HEAD})
    if unknown:
        raise PassError(
            f"genai: which matrix of the model {unknown[0]} holds is not known to gptq",
            hint="Use another algorithm, and report the architecture.",
        )
    return found


def require_same(build: QuantizedBuild, name: str, pieces: list[Piece]) -> None:
    """Require that a node holds what it is taken for: its matrix is that of the network, rounded.

    Args:
        build: As the builder made it.
        name: The node's.
        pieces: What it is taken for.

    Raises:
        InvalidArtifactError: A weight is further from its source than a step of the grid.
    """
    node = build.nodes[name]
    encoded = build.read(name)
    weights = [piece.weight for piece in sorted(pieces, key=lambda each: each.first)]
    same = [weight.shape[1] for weight in weights] == [node.width] * len(weights)
    same = same and sum(map(len, weights)) == node.rows
    start = 0
    for weight in (part for each in weights for part in each.split(_ROWS)):
        if not same:
            break
        rows = rows_of(encoded, slice(start, start + len(weight)))
        steps = rows.scales.abs().repeat_interleave(node.grid.block_size, 1)[:, : node.width]
        same = bool(((decode(rows) - weight).abs() <= _SLACK * steps + _NOTHING).all())
        start += len(weight)
    if not same:
        raise InvalidArtifactError(
            f"genai: {name} of the build is not the matrix of the model that gptq takes it for",
            hint="Use another algorithm, and report the architecture.",
        )


def _pieces_of_layer(
    config: Any, number: int, layer: Any, nodes: Mapping[str, QuantizedNode]
) -> Iterator[Piece]:
    for path, module in layer.named_modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        part, _, name = path.rpartition(".")
        place = f"/model/layers.{number}/{_PARTS.get(part, part)}"
        start = 0
        for piece, count in _split(config, name, module.out_features):
            node, first = _found(nodes, place, piece, layer)
            yield Piece(f"{place}/{piece}", module, slice(start, start + count), node, first)
            start += count


def _split(config: Any, name: str, rows: int) -> list[tuple[str, int]]:
    """Return what a linear layer consists of, by the builder's names."""
    if name == "gate_up_proj":
        return [(each, rows // 2) for each in _GATE_UP]
    if name == _FUSED:
        groups = config.num_attention_heads + 2 * config.num_key_value_heads
        size = rows // groups
        own, shared = size * config.num_attention_heads, size * config.num_key_value_heads
        return list(zip(_QKV, (own, shared, shared), strict=True))
    return [(name, rows)]


def _found(
    nodes: Mapping[str, QuantizedNode], place: str, name: str, layer: Any
) -> tuple[QuantizedNode | None, int]:
    alone = nodes.get(f"{place}/{name}/MatMul")
    if alone is not None or name not in _QKV:
        return alone, 0
    fused = nodes.get(f"{place}/{_FUSED}/MatMul")
    if fused is None:
        return None, 0
    attention = layer.self_attn
    size = attention.head_dim
    keys = size * attention.config.num_key_value_heads
    queries = fused.rows - 2 * keys
    return fused, {"q_proj": 0, "k_proj": queries, "v_proj": queries + keys}[name]
