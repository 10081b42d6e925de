"""Attention within each example of a joined row.

The library's attention computes the products of all tokens of a row and hides those of other
examples: its cost is the square of the row's length. Here each example is a call of its own, so
that the cost is the sum of the squares of the examples' lengths (block-diagonal attention).
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nlargest
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from paretune.passes.lora.chunked_loss import base_of
from paretune.passes.lora.packing_probe import computes_exactly, joined_logits
from paretune.passes.lora.rows import Row

_NAME, _LIBRARY = "paretune_example", "sdpa"
ARCHITECTURES = frozenset({"llama", "mistral", "phi3", "qwen2", "qwen3"})
"""Those (by ``model_type``) whose attention is the plain one: without caps, biases or sinks."""
_PROBED = 64
"""Tokens of each of the two rows that the probe takes."""
_SAME_FP32, _SAME = 1e-4, 3e-2
"""Largest difference of two logits, as a share of the largest: only sums are rounded otherwise."""


def attend_by_example(network: Any, rows: Sequence[Row]) -> bool:
    """Have a model on the processor compute attention by example, where it says the same so.

    The logits of two joined rows are compared with those of the library's attention.

    Args:
        network: The model, an adapter in it or not. It is changed if the answer is true.
        rows: What it will be trained on.

    Returns:
        Whether it computes so from now on.
    """
    base = base_of(network)
    longest = nlargest(2, rows, key=lambda row: len(row.ids))
    if not _is_plain(base, len(longest[0].ids)):
        return False
    probe = [Row(row.ids[:_PROBED], 1) for row in longest]
    expected = joined_logits(network, probe)
    AttentionInterface.register(_NAME, _by_example)
    base.set_attn_implementation(_NAME)
    difference = float((joined_logits(network, probe) - expected).abs().max())
    same = _SAME_FP32 if computes_exactly(network) else _SAME
    if difference <= same * max(1.0, float(expected.abs().max())):
        return True
    base.set_attn_implementation(_LIBRARY)
    return False


def _is_plain(base: Any, longest: int) -> bool:
    window = getattr(base.config, "sliding_window", None)
    return (
        base.config.model_type in ARCHITECTURES
        and base.config._attn_implementation == _LIBRARY
        and next(base.parameters()).device.type == "cpu"  # where it was measured
        and (window is None or longest <= window)
    )


def _by_example(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **more: Any
) -> tuple[Any, None]:
    """Compute attention as transformers' ``AttentionInterface`` asks for it.

    Args:
        module: The layer.
        query: Batch (1) x heads x tokens x size.
        key: The same, of the heads that keys have.
        value: The same.
        attention_mask: None: a causal mask is all that an example needs.
        **more: ``position_ids`` and what the library's attention takes.

    Returns:
        Batch (1) x tokens x heads x size; and no weights.
    """
    lengths = _lengths(more["position_ids"])
    parts = zip(*(each.split(lengths, dim=2) for each in (query, key, value)), strict=True)
    found = [sdpa_attention_forward(module, *part, attention_mask, **more)[0] for part in parts]
    return torch.cat(found, dim=1), None


def _lengths(positions: Any) -> list[int]:
    """Return the lengths of the examples of a row, whose positions start at 0 with each."""
    starts = (positions[0] == 0).nonzero().flatten().tolist()
    ends = [*starts[1:], positions.shape[1]]
    return [end - start for start, end in zip(starts, ends, strict=True)]
