"""Whether examples that are joined to one row stay apart in a model: asked before it is trained.

``batching: padding_free`` relies on the model's taking positions that start again at 0 as
borders that no attention crosses. Architectures without such masks (convolutions, recurrent states,
ALiBi, learned positions with an offset) let one example see another, without a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paretune.core.errors import PassError
from paretune.passes.lora.rows import Row, joined

_MAX_TOKENS = 48
_APART_FP32 = 1e-3
_APART = 3e-2
"""Largest difference of two logits, as a share of the largest logit: rounding is below it."""
_SAME_SHAPES = 1e-4
"""The same where nothing but another example's tokens differs: there is nothing to round."""


def require_rows_apart(network: Any, rows: Sequence[Row]) -> None:
    """Refuse to train on joined rows where a model lets one see another.

    Args:
        network: The model, an adapter in it or not; it is left as it was.
        rows: To be learned from.

    Raises:
        PassError: The logits of an example change with what it is joined to.
    """
    how = leak(network, rows)
    if how is not None:
        raise PassError(
            f"batching: padding_free: {how}",
            hint="Use batching: length_grouped (the default) or plain for this model.",
        )


def leak(network: Any, rows: Sequence[Row]) -> str | None:
    """Return how joined rows see each other in a model, or None if they do not."""
    second = _cut(max(rows, key=lambda row: len(row.ids)))
    first = Row(second.ids[::-1], 1)
    other = Row(tuple(second.ids[(3 * i + 1) % len(second.ids)] for i in range(len(first.ids))), 1)
    if len(second.ids) < 3 or first.ids == other.ids:
        return None  # nothing to be seen by which it could be told
    alone = joined_logits(network, [second])
    after = joined_logits(network, [first, second])[-len(alone) :]
    again = joined_logits(network, [other, second])[-len(alone) :]
    scale = max(1.0, float(alone.abs().max()))
    apart = float((after - alone).abs().max()) / scale
    changed = float((after - again).abs().max()) / scale
    exact = computes_exactly(network)
    if apart <= (_APART_FP32 if exact else _APART) and changed <= (
        _SAME_SHAPES if exact else _APART
    ):
        return None
    kind = getattr(network.config, "model_type", type(network).__name__)
    return (
        f"a model of type {kind!r} does not keep joined examples apart: the logits of one change "
        f"by {max(apart, changed):.2g} of the largest with what stands before it"
    )


def _cut(row: Row) -> Row:
    return Row(row.ids[:_MAX_TOKENS], 1)


def computes_exactly(network: Any) -> bool:
    """Return whether a model computes in fp32, so that nothing but the order of sums differs."""
    import torch

    dtype = next(network.parameters()).dtype
    return dtype == torch.float32 and not getattr(network, "is_quantized", False)


def joined_logits(network: Any, rows: Sequence[Row]) -> Any:
    """Return what a model says of each token of joined rows, without dropout: tokens x words."""
    import torch

    batch = joined(rows)
    device = next(network.parameters()).device
    inputs = {name: batch[name].to(device) for name in ("input_ids", "position_ids")}
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            return network(**inputs, use_cache=False).logits[0].float()
    finally:
        network.train(training)
