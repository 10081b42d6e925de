"""A loss that holds a rounded model to the same model before it was rounded; for workers only.

The teacher is the model that the pass was given: without the adapter, and not rounded. The loss is
the mean Kullback-Leibler divergence, teacher || student, of the next token's distribution, over the
tokens that the cross-entropy would be computed at (Hinton et al., arXiv 1503.02531; for quantized
models: Liu et al., "LLM-QAT", arXiv 2305.17888). As in `paretune.passes.lora.chunked_loss`, the
head is applied to a few positions at a time, and never are all logits in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear, log_softmax

from paretune.core.errors import PassError
from paretune.passes.lora.chunked_loss import ChunkedLoss
from paretune.passes.lora.rounding import Rounding
from paretune.passes.lora.rows import IGNORED, Batch

# Two models' logits, their logarithms and shares are held at a time.
_CHUNK = 2_000_000


class _Divergence(torch.autograd.Function):  # type: ignore[misc]
    """Sum of the divergences of a student's predictions from a teacher's, under frozen heads."""

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, bias: Any, teacher: Any, whole: Any) -> Any:
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        size = max(1, _CHUNK // weight.shape[0])
        for start in range(0, hidden.shape[0], size):
            part = slice(start, start + size)
            student = log_softmax(linear(hidden[part], weight, bias).float(), 1)
            wanted = log_softmax(linear(teacher[part], whole, bias).float(), 1)
            shares = wanted.exp()
            total += (shares * (wanted - student)).sum()
            if gradient is not None:
                gradient[part] = student.exp_().sub_(shares).to(weight.dtype) @ weight
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, outer: Any) -> Any:
        (gradient,) = ctx.saved_tensors
        return gradient * outer.to(gradient.dtype), None, None, None, None


@dataclass(frozen=True)
class DistilledLoss:
    """The divergence of a rounded model with its adapter from the model that was given.

    Attributes:
        parts: The decoder and the head.
        rounding: Turns the rounding and the adapter off for the teacher.
    """

    parts: ChunkedLoss
    rounding: Rounding

    def __call__(self, batch: Batch, items: Any = None) -> Any:
        """Return the loss of a batch; see `ChunkedLoss`."""
        learned = batch["shift_labels"] != IGNORED
        head = self.parts.head
        with self.rounding.off(), torch.no_grad():
            teacher = self.parts.hidden(batch)[:, batch["logits_to_keep"]][learned]
            whole = head.weight
        hidden = self.parts.hidden(batch)[:, batch["logits_to_keep"]][learned]
        total = _Divergence.apply(hidden, head.weight, head.bias, teacher, whole)
        return total / (learned.sum() if items is None else items)


def distilled_loss(parts: ChunkedLoss | None, rounding: Rounding | None) -> DistilledLoss:
    """Return the loss of a rounded network.

    Raises:
        PassError: The network does more after its head than the head.
    """
    if parts is None or rounding is None:
        raise PassError(
            "distill: what this model predicts is not what its head alone gives of its last hidden "
            "states, so that two of them cannot be compared here",
            hint="Leave distill out.",
        )
    return DistilledLoss(parts, rounding)
