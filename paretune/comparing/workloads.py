"""What `paretune compare` runs in each block: tokens of a language model, or runs of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from paretune.core.jsontools import Json

BLOCK_S = 0.4
"""Seconds of sampling in one process, after its warm-up, summed over its blocks."""


@dataclass(frozen=True)
class Workload:
    """Tokens that language models generate.

    Attributes:
        evaluator: That measures it.
        metrics: Those compared; a pair's verdict is that of the first one.
        options: What gives it other values, for messages.
        prompt_tokens: Length of the prompt.
        new_tokens: Tokens decoded after it.
        block_s: Seconds of sampling in a process, summed over its blocks.
    """

    evaluator: ClassVar[str] = "generation"
    metrics: ClassVar[tuple[str, ...]] = ("decode_ms_p50", "ttft_ms_p50")
    options: ClassVar[str] = "Use other --prompt-tokens or --new-tokens."
    prompt_tokens: int = 64
    new_tokens: int = 32
    block_s: float = BLOCK_S

    def params(self) -> dict[str, Json]:
        """Return the parameters of the evaluator."""
        return {"prompt_tokens": self.prompt_tokens, "new_tokens": self.new_tokens}


@dataclass(frozen=True)
class NetworkWorkload:
    """Runs of networks that take named arrays; attributes as of `Workload`.

    Attributes:
        shapes: Shape of each input, by name; open sizes are 1 otherwise.
    """

    evaluator: ClassVar[str] = "latency"
    metrics: ClassVar[tuple[str, ...]] = ("latency_ms_p50",)
    options: ClassVar[str] = "Use another --shape."
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    block_s: float = BLOCK_S

    def params(self) -> dict[str, Json]:
        """Return the parameters of the evaluator."""
        return {"shapes": {name: list(shape) for name, shape in self.shapes.items()}}
