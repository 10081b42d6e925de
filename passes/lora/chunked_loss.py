"""Cross-entropy over a large vocabulary without ever holding all logits; for workers only.

2048 tokens times 49152 words are 400 MB of logits, and a loss computed the ordinary way holds
several copies of them. Here the head and the loss are computed for a few positions at a time, and
the gradient with regard to the hidden states right with them: the head is frozen, so nothing of a
chunk is needed later, and nothing is computed twice. The idea is that of Liger Kernel's fused
linear cross-entropy (Hsu et al., arXiv 2410.10989) and of Cut Cross-Entropy (Wijmans et al., arXiv
2411.09009).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear

from paretune.passes.lora.rows import IGNORED, Batch

# Logits held at a time, in numbers: 32 MB in fp32, and matrix products that are still large.
_CHUNK = 8_000_000
# Two sums of the same numbers in another order.
_SAME_LOSS = 1e-3
_PROBE_TOKENS = 16


class _HeadLoss(torch.autograd.Function):  # type: ignore[misc]
    """Sum of the cross-entropies of hidden states under a frozen head."""

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, bias: Any, targets: Any) -> Any:
        wanted = ctx.needs_input_grad[0]
        gradient = torch.empty_like(hidden) if wanted else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        size = max(1, _CHUNK // weight.shape[0])
        for start in range(0, hidden.shape[0], size):
            part = slice(start, start + size)
            logits = linear(hidden[part], weight, bias).float()
            right = targets[part].unsqueeze(1)
            # All in place: `logits` become exp(logits - largest), then their softmax.
            largest = logits.amax(1, keepdim=True)
            total += (largest - logits.gather(1, right)).sum()
            sums = logits.sub_(largest).exp_().sum(1, keepdim=True)
            total += sums.log().sum()
            if gradient is not None:
                logits.div_(sums).scatter_add_(1, right, -torch.ones_like(sums))
                gradient[part] = logits.to(weight.dtype) @ weight
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, outer: Any) -> Any:
        (gradient,) = ctx.saved_tensors
        return gradient * outer.to(gradient.dtype), None, None, None


def chunked_cross_entropy(
    hidden: Any, weight: Any, bias: Any, targets: Any, items: Any = None
) -> Any:
    """Return the cross-entropy of next tokens, with a gradient for the hidden states only.

    Args:
        hidden: Last hidden states, (..., width).
        weight: The head's, (vocabulary, width); frozen.
        bias: The head's, or None; frozen.
        targets: The token that each position is to predict, (...); `IGNORED` where none.
        items: What the sum is divided by (the targets of all batches of one optimizer step). None:
            the number of targets here.
    """
    learned = targets != IGNORED
    targets = targets[learned]
    total = _HeadLoss.apply(hidden[learned].to(weight.dtype), weight, bias, targets)
    return total / (targets.numel() if items is None else items)


def mean_loss(batches: Iterable[Batch], loss_of: Callable[[Batch], Any]) -> float:
    """Return the mean loss of learned tokens, whatever batches they are in; no gradient.

    Args:
        batches: At least one token is learned in each.
        loss_of: Returns the mean loss of a batch.
    """
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            items = int((batch["shift_labels"] != IGNORED).sum())
            total += float(loss_of(batch)) * items
            count += items
    return total / count


@dataclass(frozen=True)
class ChunkedLoss:
    """The loss of a model that is a decoder and a frozen linear head, and nothing else.

    Attributes:
        decoder: Gives hidden states.
        head: A plain linear layer.
    """

    decoder: Any
    head: Any

    def __call__(self, batch: Batch, items: Any = None) -> Any:
        """Return the loss of a batch as `lora_rows` makes them."""
        hidden = self.hidden(batch)[:, batch["logits_to_keep"]]
        targets = batch["shift_labels"]
        return chunked_cross_entropy(hidden, self.head.weight, self.head.bias, targets, items)

    def hidden(self, batch: Batch) -> Any:
        """Return the decoder's last hidden states of a batch."""
        inputs = {key: value for key, value in batch.items() if key not in _FOR_THE_HEAD}
        return self.decoder(**inputs).last_hidden_state


_FOR_THE_HEAD = frozenset({"labels", "shift_labels", "logits_to_keep"})


def base_of(network: Any) -> Any:
    """Return the model that PEFT has wrapped, or a model that it has not."""
    return network.get_base_model() if hasattr(network, "get_base_model") else network


def find_chunked_loss(network: Any, batch: Batch) -> ChunkedLoss | None:
    """Return how to compute a model's loss by chunks, or None if it cannot be done.

    What a model does after its head (caps, scales, further losses) has a name of its own in each
    architecture. So the model is asked: on a few tokens, head and decoder alone must give exactly
    the logits that the whole gives.

    Args:
        network: A causal language model, PEFT's wrapper around it included.
        batch: Any batch that it will be trained on.
    """
    base = base_of(network)
    decoder, head = base.get_decoder(), base.get_output_embeddings()
    # An adapter around the head is another type; a trained head needs a gradient of its own.
    if decoder is None or decoder is base or type(head) is not torch.nn.Linear:
        return None
    if any(parameter.requires_grad for parameter in head.parameters()):
        return None
    found = ChunkedLoss(decoder, head)
    return found if _same_as_whole(network, found, _few_tokens(batch)) else None


def _few_tokens(batch: Batch) -> Batch:
    """Return the last columns of a batch, with a target under each but the last."""
    ids = batch["input_ids"][:1, -_PROBE_TOKENS:]
    targets = ids[:, 1:].contiguous()
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": targets,
        "shift_labels": targets,
        "logits_to_keep": torch.arange(ids.shape[1] - 1, device=ids.device),
        "use_cache": False,
    }


def _same_as_whole(network: Any, found: ChunkedLoss, batch: Batch) -> bool:
    training = network.training
    network.eval()  # dropout would make any two passes differ
    try:
        with torch.no_grad():
            whole = network(**batch)
            logits = found.head(found.hidden(batch)[:, batch["logits_to_keep"]])
            loss = found(batch)
    finally:
        network.train(training)
    near = (whole.loss - loss).abs() <= _SAME_LOSS * whole.loss.abs()
    return bool(torch.equal(whole.logits, logits) and near)
