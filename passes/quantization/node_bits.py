"""Bits of each matrix of a network, by the node that holds it in a build."""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import fnmatchcase

from paretune.core.errors import PassError
from paretune.passes.quantization.rounding_grid import HEAD, RoundingGrid

ARCHITECTURES = frozenset({"llama", "mistral", "phi3", "qwen2", "qwen3"})
"""Those (by ``model_type``) of which tests show that a build rounds each linear layer."""

_PLACE = re.compile(r"\blayers\.(\d+)\.(self_attn|mlp)\.(\w+)$")
_QKV = ("q_proj", "k_proj", "v_proj")
_FUSED_IN_FILE = ("qkv_proj", "gate_up_proj")


def product_of(node: str) -> str:
    """Return the name that a rounded product had before it was rounded (``/lm_head/MatMul``)."""
    return node.rsplit("_Q", 1)[0]


def head_bits(grid: RoundingGrid) -> int | None:
    """Return the bits of the head; None: it stays in fp32."""
    return _of_node(grid, HEAD, grid.bits)


def bits_of(
    grid: RoundingGrid, path: str, layers: int | None, *, mixed: bool = False
) -> int | None:
    """Return the bits of a linear layer; None: it stays in fp32.

    Args:
        grid: What the build rounds to.
        path: The layer's name in the network (``model.layers.0.mlp.down_proj``).
        layers: How many decoder layers the network has; None: not known.
        mixed: Whether the decoder layer is one of those that `mixed_layers` takes, where their
            number is not known.

    Raises:
        PassError: Nodes have bits of their own, and which node holds the layer is not known.
    """
    if not (grid.mixed_layers or grid.names_nodes_of_layers):
        return grid.bits
    place = _PLACE.search(path)
    name = "" if place is None else place[3]
    if place is None or why_unknown(grid, {name}) is not None:
        raise PassError(
            f"quantize_for: {_unknown(path)}",
            hint="Use a build with the same bits in all layers.",
        )
    layer = int(place[1])
    if name in _QKV and _is_fused(grid, layer):
        name = "qkv_proj"
    part = "attn" if place[2] == "self_attn" else "mlp"
    promoted = name in ("qkv_proj", "v_proj", "down_proj")
    mixed = mixed if layers is None else _is_sensitive(layer, layers)
    eight = grid.mixed_layers and promoted and mixed
    return _of_node(grid, _node(layer, part, name), 8 if eight else grid.bits)


def why_unknown(grid: RoundingGrid, modules: Collection[str]) -> str | None:
    """Return why the nodes of a network's matrices are not known, although they count, or None.

    Args:
        grid: What the build rounds to.
        modules: Last names of the network's linear layers.
    """
    fused = min((name for name in _FUSED_IN_FILE if name in modules), default=None)
    counts = grid.names_nodes_of_layers or (grid.mixed_layers and not grid.fuse_qkv)
    return _unknown(fused) if fused is not None and counts else None


def _unknown(name: str) -> str:
    return (
        f"which node of a build holds {name} is not known, and the grid has nodes with bits of "
        "their own"
    )


def _is_fused(grid: RoundingGrid, layer: int) -> bool:
    """Return whether query, key and value are one node: not where one of them is named alone."""
    alone = (_node(layer, "attn", name) for name in _QKV)
    return grid.fuse_qkv and not any(node in grid.nodes for node in alone)


def _node(layer: int, part: str, name: str) -> str:
    return f"/model/layers.{layer}/{part}/{name}/MatMul"


def _of_node(grid: RoundingGrid, node: str, otherwise: int) -> int | None:
    """Return a node's own bits, which go before those that its layer has."""
    for pattern, bits in grid.nodes.items():
        if fnmatchcase(node, pattern):
            return bits
    return otherwise


def _is_sensitive(layer: int, layers: int) -> bool:
    """The builder's choice of layers (`make_matmul_mixed_precision` of onnxruntime-genai 0.18)."""
    eighth = layers / 8
    return layer < eighth or layer >= 7 * eighth or (layer - round(eighth)) % 3 == 2
