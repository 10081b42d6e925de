"""What a model reads and computes for a token, by its architecture: never too much."""

from __future__ import annotations

from dataclasses import dataclass

from paretune.core.model import ModelInfo

_DENSE = frozenset(
    {
        "gemma",
        "gemma2",
        "gemma3_text",
        "granite",
        "internlm2",
        "llama",
        "mistral",
        "nemotron",
        "olmo",
        "phi",
        "phi3",
        "qwen2",
        "qwen3",
        "smollm3",
    }
)
"""Architectures that read all their matrices for every token; a mixture of experts does not."""
WIDTHS = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "int8": 1.0, "int4": 0.5}
"""Bytes of a weight."""
_CACHE_WIDTH = 4
_HEAD = "lm_head"


@dataclass(frozen=True)
class Traffic:
    """What a model reads and computes, at the least.

    Attributes:
        bytes_per_token: Read for each decoded token: every matrix, the cache of the tokens before
            it; of an embedding that is a matrix of its own one row, which is left out.
        operations_per_prompt_token: Multiplications and additions for each token of a prompt.
        operations_per_prompt: Those done once per prompt: the head, for its last token.
        arithmetic: What they are done in: ``fp32`` where the weights are; None: a kernel may round
            what it multiplies to int8, so the faster of the two counts.
    """

    bytes_per_token: int
    operations_per_prompt_token: int
    operations_per_prompt: int
    arithmetic: str | None = None


def dense_traffic(info: ModelInfo, width: float | None, context: int = 0) -> Traffic | None:
    """Return what a dense decoder reads and computes; None if too little is known of it.

    Args:
        info: The model, built or predicted.
        width: Bytes of a weight where it runs, its share of a block's scale included.
        context: Tokens in the cache while decoding.
    """
    embedding = info.vocab_size * info.hidden_size
    if info.model_type not in _DENSE or width is None or not embedding or not info.parameters:
        return None
    # A file may hold a head of its own though the configuration says that it shares one.
    held = 1 if info.tied and _HEAD not in info.modules else 2
    body = info.parameters - held * embedding
    if body <= 0:
        return None
    cache = 2 * info.layers * info.kv_heads * info.head_dim * _CACHE_WIDTH * context
    return Traffic(
        bytes_per_token=int((body + embedding) * width) + cache,
        operations_per_prompt_token=2 * body,
        operations_per_prompt=2 * embedding,
        arithmetic="fp32" if width == WIDTHS["fp32"] else None,
    )
