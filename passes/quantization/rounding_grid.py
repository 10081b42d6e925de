"""The grid that a training rounds to, as a parameter."""

from __future__ import annotations

from typing import Literal

from paretune.core.params import Params, parameter

HEAD = "/lm_head/MatMul"
"""The head's node in a build."""


class RoundingGrid(Params):
    """What a build rounds to; two builds with equal grids can share a training."""

    bits: Literal[4, 8] = parameter(4, "Bits of a weight.", unit="bits", search="none")
    block_size: Literal[16, 32, 64, 128, 256] = parameter(
        32, "Weights that share a scale.", unit="weights", search="none"
    )
    is_symmetric: bool = parameter(True, "No zero points.", search="none")
    nodes: dict[str, Literal[4, 8] | None] = parameter(
        {},
        "Bits of single nodes, by patterns over their names in a build (`/lm_head/MatMul`); null: "
        "they stay in fp32. The first pattern that matches counts.",
        search="none",
    )
    mixed_layers: bool = parameter(
        False, "8 bits where genai's matmul_mixed_precision mixed_layers:int8 has them."
    )
    fuse_qkv: bool = parameter(
        True, "Query, key and value are one node, for nodes and mixed_layers.", search="none"
    )
    embedding: bool | None = parameter(
        None,
        "An embedding that shares the head's weights is rounded as the head is. None: with 4 bits.",
        search="none",
    )

    adapter_apart: bool = parameter(
        False,
        "The base alone is rounded; the adapter stays beside it in fp32, as genai_adapter has it.",
        search="none",
    )

    @property
    def names_nodes_of_layers(self) -> bool:
        """Whether nodes of the layers, and not the head alone, have bits of their own."""
        return any(pattern != HEAD for pattern in self.nodes)

    @property
    def rounds_embedding(self) -> bool:
        """Whether an embedding that shares the head's weights is rounded."""
        return self.bits == 4 if self.embedding is None else self.embedding
