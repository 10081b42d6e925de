"""Training on rounded weights: what a build will hold is what the forward pass uses.

Each matrix that an adapter belongs to computes with ``round(W + B A)``, in the grid of the build
that follows. Rounding has no useful gradient: that of the rounded matrix is handed to A and B as if
they had been added without it (the straight-through estimator, Bengio et al., arXiv 1308.3432; for
adapters: Dettmers et al., arXiv 2305.14314, and Xu et al., arXiv 2309.14717, are neighbours). The
base has no gradient. Matrices without an adapter, the head and a shared embedding are rounded once.
So is the base of every matrix where the build keeps the adapter apart: the adapter is then trained
beside it as it will run, and makes up for what rounding the base has lost.

The rounded matrices are made before the first forward pass after A or B has changed, which is once
per optimizer step, whatever is accumulated or recomputed in between. For workers only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear

from paretune.core.errors import PassError
from paretune.passes.lora.exact_sum import exact_delta
from paretune.passes.quantization.grid import Grid, rounded
from paretune.passes.quantization.node_bits import bits_of, head_bits
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
        grid: What its weights are rounded to; None: the build leaves them in fp32.
        weight: The rounded sum of base and adapter.
        off: Whether it computes with the base alone, as it was before it was rounded.
    """

    layer: Any
    grid: Grid | None
    weight: Any = None
    off: bool = False
    _made_of: tuple[Any, Any] | None = None

    def __call__(self, inputs: Any) -> Any:
        if self.off:
            return self.layer.base_layer(inputs)
        down, up = self.layer.lora_A[_ADAPTER].weight, self.layer.lora_B[_ADAPTER].weight
        bias, scale = self.layer.base_layer.bias, float(self.layer.scaling[_ADAPTER])
        return _StraightThrough.apply(inputs, self.weight, bias, down, up, scale)

    def refresh(self) -> None:
        """Round again if A or B has changed."""
        down, up = self.layer.lora_A[_ADAPTER].weight, self.layer.lora_B[_ADAPTER].weight
        if not self._is_of(down, up):
            total = self.layer.base_layer.weight.detach() + exact_delta(self.layer, _ADAPTER)
            self.weight = total if self.grid is None else rounded(total, self.grid)
            self._made_of = (down.detach().clone(), up.detach().clone())

    def _is_of(self, down: Any, up: Any) -> bool:
        # By value: fused optimizers change a tensor without counting its version.
        made_of = self._made_of
        return made_of is not None and torch.equal(made_of[0], down) and torch.equal(made_of[1], up)


@dataclass(frozen=True)
class Rounding:
    """What of a network is rounded.

    Attributes:
        layers: Those with an adapter.
        replaced: Other modules, each with its weights before and after rounding.
        apart: Layers whose adapter is not rounded with the base.
    """

    layers: list[_RoundedLayer]
    replaced: list[tuple[Any, Any, Any]]
    apart: list[Any]

    @contextmanager
    def off(self) -> Iterator[None]:
        """Let the network compute as it did without rounding and without the adapter."""
        self._switch(off=True)
        try:
            yield
        finally:
            self._switch(off=False)

    def _switch(self, *, off: bool) -> None:
        for layer in self.layers:
            layer.off = off
        for layer in self.apart:
            layer.enable_adapters(not off)
        for module, before, after in self.replaced:
            module.weight = before if off else after


def round_weights(adapted: Any, grid: RoundingGrid) -> Rounding:
    """Have a network with a new adapter compute with rounded weights.

    Args:
        adapted: PEFT's wrapper around a network in fp32, where it is trained; it is changed.
        grid: What is rounded to.

    Raises:
        PassError: An adapter is on something else than a linear layer.
    """
    network = adapted.get_base_model()
    head = network.get_output_embeddings()
    count = network.config.get_text_config().num_hidden_layers

    def grid_of(path: str) -> Grid | None:
        bits = bits_of(grid, path, count)
        return None if bits is None else Grid(bits, grid.block_size, grid.is_symmetric)

    with_adapter = list(_layers_with_adapter(adapted))
    inside = {id(part) for layer in with_adapter for part in layer.modules()}
    outer = {id(layer) for layer in with_adapter}
    layers: list[_RoundedLayer] = []
    apart = with_adapter if grid.adapter_apart else []
    replaced: list[tuple[Any, Any, Any]] = []
    for path, module in network.named_modules():
        if id(module) in outer and not grid.adapter_apart:
            layers.append(_RoundedLayer(module, grid_of(path)))
        elif id(module) in outer:
            own_grid = grid_of(path)
            if own_grid is not None:
                replaced.append(_replaced(module.base_layer, own_grid))
        elif type(module) is torch.nn.Linear and module is not head and id(module) not in inside:
            own_grid = grid_of(path)
            if own_grid is not None:
                replaced.append(_replaced(module, own_grid))
    for each in layers:
        each.layer.forward = each

    def refresh(*_: Any) -> None:
        for each in layers:
            each.refresh()

    # Before the decoder, not in its layers: those are computed twice where memory is spared.
    network.get_decoder().register_forward_pre_hook(refresh)
    bits = head_bits(grid)
    if head is not None and bits is not None:
        replaced += _rounded_head(network, head, grid, bits)
    return Rounding(layers, replaced, apart)


def _rounded_head(
    network: Any, head: Any, grid: RoundingGrid, bits: int
) -> Iterator[tuple[Any, Any, Any]]:
    embedding = network.get_input_embeddings()
    before = embedding.weight
    tied = before.data_ptr() == head.weight.data_ptr()
    yield _replaced(head, Grid(bits, grid.block_size, grid.is_symmetric))
    if tied and grid.rounds_embedding:
        embedding.weight = head.weight
        yield embedding, before, head.weight


def _replaced(module: Any, grid: Grid) -> tuple[Any, Any, Any]:
    before = module.weight
    module.weight = torch.nn.Parameter(rounded(before.detach(), grid), requires_grad=False)
    return module, before, module.weight


def _layers_with_adapter(adapted: Any) -> Iterator[Any]:
    from peft.tuners.lora import Linear, LoraLayer

    head = adapted.get_base_model().get_output_embeddings()
    for name, module in adapted.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        if type(module) is not Linear or module.fan_in_fan_out:
            raise PassError(
                f"quantize_for: {name} is a {type(module.get_base_layer()).__name__}, and only "
                "linear layers are rounded",
                hint="Name linear layers in target_modules.",
            )
        if module is head:
            raise PassError(
                "quantize_for: an adapter on the head is not rounded with it",
                hint="Leave the head out of target_modules.",
            )
        yield module
