"""The grid that a training rounds to, as a parameter."""

from __future__ import annotations

from typing import Literal

from paretune.core.params import Params, parameter


class RoundingGrid(Params):
    """What a build rounds to; two builds with equal grids can share a training."""

    bits: Literal[4, 8] = parameter(4, "Bits of a weight.", unit="bits", search="none")
    block_size: Literal[16, 32, 64, 128, 256] = parameter(
        32, "Weights that share a scale.", unit="weights", search="none"
    )
    is_symmetric: bool = parameter(True, "No zero points.", search="none")
    head_bits: Literal[4, 8] | None = parameter(
        4, "Bits of the head; None: it stays in fp32.", unit="bits", search="none"
    )
    embedding: bool = parameter(
        True,
        "Where the embedding shares the head's weights, it is rounded as the head is.",
        search="none",
    )
