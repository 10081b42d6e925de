"""Training on rounded weights: what a build will hold is what the forward pass uses.

Each matrix that an adapter belongs to computes with ``round(W + B A)``, in the grid of the build
that follows. Rounding has no useful gradient: that of the rounded matrix is handed to A and B as if
they had been added without it (the straight-through estimator, Bengio et al., arXiv 1308.3432; for
adapters: Dettmers et al., arXiv 2305.14314, and Xu et al., arXiv 2309.14717, are neighbours). The
base has no gradient. Matrices without an adapter, the head and a shared embedding are rounded once.

The rounded matrix is made when it is first used after A or B has changed, which is once per
optimizer step, whatever is accumulated or recomputed in between. For workers only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear

from paretune.core.errors import PassError
from paretune.passes.lora.exact_sum import exact_delta
from paretune.passes.quantization.grid import Grid, rounded
from paretune.passes.quantization.rounding_grid import RoundingGrid

_ADAPTER = "default"


class _StraightThrough(torch.autograd.Function):  # type: ignore[misc]
    """A product with a rounded matrix; its gradient goes to the adapter below the rounding."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Any, weight: Any, bias: Any, down: Any, up: Any, scale: float
    ) -> Any:
        ctx.save_for_backward(inputs, weight, down, up)
        ctx.scale = scale
        return linear(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, outer: Any) -> Any:
        inputs, weight, down, up = ctx.saved_tensors
        flat, gradient = inputs.flatten(0, -2), outer.flatten(0, -2)
        back = outer @ weight if ctx.needs_input_grad[0] else None
        through = (gradient @ up).mul_(ctx.scale)
        to_down = through.t() @ flat
        to_up = gradient.t() @ (flat @ down.t()).mul_(ctx.scale)
        return back, None, None, to_down, to_up, None


@dataclass(eq=False)
class _RoundedLayer:
    """The forward pass of one of PEFT's linear layers, in place of its own.

    Attributes:
        layer: PEFT's.
        grid: What its weights are rounded to.
        weight: The rounded sum of base and adapter.
    """

    layer: Any
    grid: Grid
    weight: Any = None
    _made_of: tuple[Any, Any] | None = None

    def __call__(self, inputs: Any) -> Any:
        down, up = self.layer.lora_A[_ADAPTER].weight, self.layer.lora_B[_ADAPTER].weight
        if not self._is_of(down, up):
            base = self.layer.base_layer.weight.detach()
            self.weight = rounded(base + exact_delta(self.layer, _ADAPTER), self.grid)
            self._made_of = (down.detach().clone(), up.detach().clone())
        bias, scale = self.layer.base_layer.bias, float(self.layer.scaling[_ADAPTER])
        return _StraightThrough.apply(inputs, self.weight, bias, down, up, scale)

    def _is_of(self, down: Any, up: Any) -> bool:
        # By value: fused optimizers change a tensor without counting its version.
        made_of = self._made_of
        return made_of is not None and torch.equal(made_of[0], down) and torch.equal(made_of[1], up)


def round_weights(adapted: Any, grid: RoundingGrid) -> None:
    """Have a network with a new adapter compute with rounded weights.

    Args:
        adapted: PEFT's wrapper around a network in fp32; it is changed.
        grid: What is rounded to.

    Raises:
        PassError: An adapter is on something else than a linear layer.
    """
    network = adapted.get_base_model()
    head = network.get_output_embeddings()
    body = Grid(grid.bits, grid.block_size, grid.is_symmetric)
    with_adapter = list(_layers_with_adapter(adapted))
    inside = {id(layer.base_layer) for layer in with_adapter}
    for layer in with_adapter:
        if layer is head:
            raise PassError(
                "quantize_for: an adapter on the head is not rounded with it",
                hint="Leave the head out of target_modules.",
            )
        layer.forward = _RoundedLayer(layer, body)
    for module in network.modules():
        if type(module) is torch.nn.Linear and module is not head and id(module) not in inside:
            if module.weight.requires_grad:
                continue  # A and B themselves
            _replace(module, rounded(module.weight.detach(), body))
    if head is not None and grid.head_bits is not None:
        _round_head(network, head, grid)


def _round_head(network: Any, head: Any, grid: RoundingGrid) -> None:
    embedding = network.get_input_embeddings()
    tied = embedding.weight.data_ptr() == head.weight.data_ptr()
    assert grid.head_bits is not None
    own = Grid(grid.head_bits, grid.block_size, grid.is_symmetric)
    _replace(head, rounded(head.weight.detach(), own))
    if tied and grid.embedding:
        embedding.weight = head.weight


def _replace(module: Any, weight: Any) -> None:
    module.weight = torch.nn.Parameter(weight, requires_grad=False)


def _layers_with_adapter(adapted: Any) -> Iterator[Any]:
    from peft.tuners.lora import Linear, LoraLayer

    for name, module in adapted.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        if type(module) is not Linear or module.fan_in_fan_out:
            raise PassError(
                f"quantize_for: {name} is a {type(module.get_base_layer()).__name__}, and only "
                "linear layers are rounded",
                hint="Name linear layers in target_modules.",
            )
        yield module
