"""Scales of channels with which rounding loses less (AWQ); in PyTorch, for workers only.

A linear layer computes the same if its columns are multiplied by numbers and what gives it its
inputs is divided by them. A column whose inputs are large gets a large number: its weights are then
rounded in finer steps, relative to their size. The numbers are a power of the inputs' sizes, whose
exponent is found by trying; an exponent of 0 changes nothing (Lin et al., "AWQ: Activation-aware
Weight Quantization", arXiv 2306.00978).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from paretune.core.progress import Progress
from paretune.passes.quantization.grid import Grid, rounded
from paretune.passes.quantization.layer_inputs import entered, outputs_of, samples_of

EXPONENTS = tuple(step / 20 for step in range(20))
_TOKENS = 512
"""Tokens whose outputs are compared for each exponent."""
_SMALLEST = 1e-4
"""Of the largest input of a group: smaller ones count as large as this."""


@dataclass(frozen=True, eq=False)
class Group:
    """Linear layers with the same inputs, and what makes these.

    Attributes:
        name: What it is called in messages: the layer's number, and its first consumer.
        consumers: The linear layers.
        producers: Parameters whose rows make the inputs, with the rows: a norm's weights, or the
            weights and the bias of a linear layer.
        repeated: How many heads in a row share a producer's row (grouped-query attention).
        head: Inputs of a head.
    """

    name: str
    consumers: tuple[Any, ...]
    producers: tuple[tuple[Any, slice], ...]
    repeated: int = 1
    head: int = 1


@dataclass(frozen=True)
class Scaled:
    """What was found for a group.

    Attributes:
        name: The group's.
        exponent: The best one; 0: nothing was changed.
        before: Squared error of the outputs by rounding, without scales.
        after: The same, with them.
    """

    name: str
    exponent: float
    before: float
    after: float


def scale_channels(
    network: Any,
    rows: Sequence[Sequence[int]],
    grid: Grid,
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[Scaled]:
    """Scale the channels of a network's decoder layers; it computes what it computed before.

    Args:
        network: A causal language model of a known architecture, in fp32; it is changed.
        rows: Texts as token ids.
        grid: What the network will be rounded to.
        progress: Takes the progress.
    """
    found = []
    with torch.no_grad():
        layers = network.base_model.layers
        states, calls = entered(network, rows)
        for number, layer in enumerate(layers):
            progress(Progress("awq_scaling", number, len(layers), "trying scales"))
            groups = list(groups_of(number, layer))
            first = [group.consumers[0] for group in groups]
            with samples_of(first, _TOKENS, sum(map(len, rows))) as samples:
                states = outputs_of(layer, number, states, calls)
            for group in groups:
                inputs = torch.cat(samples[id(group.consumers[0])])
                found.append(_scale(group, inputs, grid))
    return found


def groups_of(number: int, layer: Any) -> Iterator[Group]:
    """Return the groups of a decoder layer.

    Args:
        number: The layer's.
        layer: Of an architecture in `paretune.passes.quantization.node_bits.ARCHITECTURES`.
    """
    attention, mlp = layer.self_attn, layer.mlp
    config = attention.config
    size = attention.head_dim
    shared = config.num_attention_heads // config.num_key_value_heads
    queries, keys = config.num_attention_heads * size, config.num_key_value_heads * size
    inputs: tuple[Any, ...]
    opened: tuple[Any, ...]
    if hasattr(attention, "qkv_proj"):
        inputs, values = (attention.qkv_proj,), (attention.qkv_proj, queries + keys)
    else:
        inputs = (attention.q_proj, attention.k_proj, attention.v_proj)
        values = (attention.v_proj, 0)
    if hasattr(mlp, "gate_up_proj"):
        opened, up = (mlp.gate_up_proj,), (mlp.gate_up_proj, config.intermediate_size)
    else:
        opened, up = (mlp.gate_proj, mlp.up_proj), (mlp.up_proj, 0)
    place = f"layers.{number}"
    yield Group(f"{place}.self_attn.qkv", inputs, _norm(layer.input_layernorm))
    yield Group(
        f"{place}.self_attn.o_proj", (attention.o_proj,), _rows(*values, keys), shared, size
    )
    yield Group(f"{place}.mlp.gate_up", opened, _norm(layer.post_attention_layernorm))
    width = mlp.down_proj.in_features
    yield Group(f"{place}.mlp.down_proj", (mlp.down_proj,), _rows(*up, width))


def _norm(norm: Any) -> tuple[tuple[Any, slice], ...]:
    return ((norm.weight, slice(None)),)


def _rows(linear: Any, first: int, count: int) -> tuple[tuple[Any, slice], ...]:
    rows = slice(first, first + count)
    return tuple((each, rows) for each in (linear.weight, linear.bias) if each is not None)


def _scale(group: Group, inputs: Any, grid: Grid) -> Scaled:
    """Find a group's exponent, and scale it."""
    weights = [linear.weight.detach() for linear in group.consumers]
    sizes = _by_producer(inputs.square().mean(0), group).sqrt()
    sizes = sizes.clamp(min=float(sizes.max()) * _SMALLEST)
    best, least, first = None, torch.inf, 0.0
    for exponent in EXPONENTS:
        scales = sizes**exponent
        scales = scales / (scales.max() * scales.min()).sqrt()
        error = sum(_error(weight, _by_input(scales, group), inputs, grid) for weight in weights)
        if exponent == 0:
            first = error
        if error < least:
            best, least = (exponent, scales), error
    if best is None or best[0] == 0:  # not finite, or nothing is better
        return Scaled(group.name, 0.0, first, first)
    exponent, scales = best
    for weight in weights:
        weight.mul_(_by_input(scales, group))
    for parameter, rows in group.producers:
        part = parameter.detach()[rows]
        part.div_(scales if part.dim() == 1 else scales.unsqueeze(1))
    return Scaled(group.name, exponent, first, least)


def _error(weight: Any, scales: Any, inputs: Any, grid: Grid) -> float:
    off = rounded(weight * scales, grid).div_(scales).sub_(weight)
    return float((inputs @ off.t()).square_().sum(dtype=torch.float64))


def _by_producer(of_inputs: Any, group: Group) -> Any:
    """Return means over the inputs that a producer's row makes."""
    return of_inputs.view(-1, group.repeated, group.head).mean(1).flatten()


def _by_input(scales: Any, group: Group) -> Any:
    """Return a producer's scales for each input that it makes."""
    heads = scales.view(-1, 1, group.head)
    return heads.expand(-1, group.repeated, -1).flatten()


def told(found: Sequence[Scaled]) -> Mapping[str, Any]:
    """Return what a report says of the groups."""
    changed = [each for each in found if each.exponent]
    before, after = sum(e.before for e in found), sum(e.after for e in found)
    share = after / before if before else 1.0
    return {
        "summary": f"scaled {len(changed)} of {len(found)} groups of matrices; squared error of "
        f"their outputs by rounding to the nearest {share:.2f} times what it was",
        "exponents": {each.name: each.exponent for each in found},
    }
