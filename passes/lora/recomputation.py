"""Gradient checkpointing that keeps what is expensive; for workers only.

Autograd keeps every intermediate result: dropped-out copies of a layer's input for each adapter,
normalised and activated values, gated products. Most of them cost next to nothing to compute
again. Here the results of large matrix products and of attention are kept, and dropout's masks;
only what lies between them is computed twice (Korthikanti et al., "Reducing Activation
Recomputation in Large Transformer Models", arXiv 2205.05198; the means is PyTorch's selective
activation checkpointing).

Measured on SmolLM2 with 2048 tokens, adapters on attention and dropout, peaks of the process: in
fp32 4.8 GB in place of 5.9, in bf16 2.7 in place of 3.2, for a tenth to a third more time. If
nothing is kept, the arithmetic is a third more.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

from paretune.passes.lora import quick_dropout  # noqa: F401 - it defines an operation

_aten = torch.ops.aten
_ATTENTION = frozenset(
    {
        _aten._scaled_dot_product_flash_attention_for_cpu.default,
        _aten._scaled_dot_product_flash_attention.default,
        _aten._scaled_dot_product_efficient_attention.default,
        _aten._scaled_dot_product_cudnn_attention.default,
    }
)
_KEPT = _ATTENTION | {torch.ops.paretune.keep_mask.default}
# Products over fewer numbers than this are an adapter's way back up, and cheap.
_LONG_SUM = 256


def _policy(context: Any, operation: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    if operation in _KEPT:
        return CheckpointPolicy.MUST_SAVE
    if operation is _aten.mm.default and args[0].shape[-1] >= _LONG_SUM:
        return CheckpointPolicy.MUST_SAVE
    if operation is _aten.addmm.default and args[1].shape[-1] >= _LONG_SUM:
        return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE


def keep_products() -> Any:
    """Return the two contexts that ``torch.utils.checkpoint`` computes and recomputes under."""
    return create_selective_checkpoint_contexts(_policy)
