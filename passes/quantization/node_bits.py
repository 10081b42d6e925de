"""Bits of each matrix of a network, by the node that holds it in a build."""

from __future__ import annotations

import re
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
    return _of_node(grid, HEAD)


def bits_of(grid: RoundingGrid, path: str, layers: int) -> int | None:
    """Return the bits of a linear layer; None: it stays in fp32.

    Args:
        grid: What the build rounds to.
        path: The layer's name in the network (``model.layers.0.mlp.down_proj``).
        layers: How many decoder layers the network has.

    Raises:
        PassError: Nodes have bits of their own, and which node holds the layer is not known.
    """
    own = any(pattern != HEAD for pattern in grid.nodes)
    if not own and not grid.mixed_layers:
        return grid.bits
    place = _PLACE.search(path)
    name = "" if place is None else place[3]
    if place is None or (name in _FUSED_IN_FILE and (own or not grid.fuse_qkv)):
        raise PassError(
            f"quantize_for: which node of a build holds {path} is not known, and the grid has "
            "nodes with bits of their own",
            hint="Use a build with the same bits in all layers.",
        )
    if grid.fuse_qkv and name in _QKV:
        name = "qkv_proj"
    part = "attn" if place[2] == "self_attn" else "mlp"
    node = f"/model/layers.{place[1]}/{part}/{name}/MatMul"
    promoted = name in ("qkv_proj", "v_proj", "down_proj")
    if grid.mixed_layers and promoted and _is_sensitive(int(place[1]), layers):
        return 8
    return _of_node(grid, node)


def _of_node(grid: RoundingGrid, node: str) -> int | None:
    for pattern, bits in grid.nodes.items():
        if fnmatchcase(node, pattern):
            return bits
    return grid.bits


def _is_sensitive(layer: int, layers: int) -> bool:
    """The builder's choice of layers (`make_matmul_mixed_precision` of onnxruntime-genai 0.18)."""
    eighth = layers / 8
    return layer < eighth or layer >= 7 * eighth or (layer - round(eighth)) % 3 == 2
