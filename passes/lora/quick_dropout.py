"""Dropout on a processor whose random numbers cost next to nothing; for workers only.

PyTorch draws a number of its own generator for each element, in one thread: with adapters on
attention that took a fifth of a training step. Here 16 bits decide on an element. They come from
NumPy's SFC64, seeded for each mask with a number of PyTorch's generator: the same state of that one
gives the same mask, so that a training which continues draws what it would have drawn.

A mask is the result of an operation of its own, so that whatever computes activations twice can
keep it (`recomputation`), and it takes one byte per element until the backward pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

_STEPS = 1 << 16
"""Values of 16 bits: the share that is dropped is a multiple of one in so many."""
_PER_DRAW = 4
"""Elements that 64 bits decide on."""


@torch.library.custom_op("paretune::keep_mask", mutates_args=())  # type: ignore[untyped-decorator]
def keep_mask(like: torch.Tensor, dropped: int) -> torch.Tensor:
    """Return which elements are kept, as ones and zeros (uint8) in the shape of ``like``.

    Args:
        like: What is dropped from; on the processor.
        dropped: How many of 65,536 elements are dropped on average.
    """
    seed = int(torch.randint(2**63 - 1, ()))
    draws = np.random.SFC64(seed).random_raw(-(-like.numel() // _PER_DRAW))
    kept = draws.view(np.uint16)[: like.numel()] >= dropped
    return torch.from_numpy(kept.view(np.uint8)).view(like.shape)


class _Dropped(torch.autograd.Function):  # type: ignore[misc]
    """A product with a mask and a number."""

    @staticmethod
    def forward(ctx: Any, inputs: Any, mask: Any, scale: float) -> Any:
        ctx.save_for_backward(mask)
        ctx.scale = scale
        return inputs.mul(mask.to(inputs.dtype)).mul_(scale)

    @staticmethod
    def backward(ctx: Any, outer: Any) -> Any:
        (mask,) = ctx.saved_tensors
        return outer.mul(mask.to(outer.dtype)).mul_(ctx.scale), None, None


class QuickDropout(torch.nn.Module):  # type: ignore[misc]
    """`torch.nn.Dropout` with other random numbers.

    Args:
        share: Of the elements that is dropped, from 0 to below 1; rounded to a multiple of
            1 / 65,536. What is left is scaled by what that multiple leaves, so that the expected
            value is the input.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self._dropped = min(round(share * _STEPS), _STEPS - 1)

    def forward(self, inputs: Any) -> Any:
        """Return the inputs; while the module is in training, with some of them set to zero."""
        if not self.training or self._dropped == 0:
            return inputs
        mask = keep_mask(inputs, self._dropped)
        return _Dropped.apply(inputs, mask, _STEPS / (_STEPS - self._dropped))


def draw_quickly(network: Any) -> None:
    """Replace the dropout of a PEFT model's adapters.

    Args:
        network: On the processor. It is changed.
    """
    from peft.tuners.lora import LoraLayer

    for module in network.modules():
        if isinstance(module, LoraLayer):
            for name, dropout in module.lora_dropout.items():
                if type(dropout) is torch.nn.Dropout:
                    module.lora_dropout[name] = QuickDropout(dropout.p)
