"""The sum of a matrix and its adapter, with the same bits everywhere; for workers only.

A product in fp32 depends on the library, the number of threads and the processor in its last bits.
That is enough to move a weight to the other side of a rounding boundary: a build would hold other
codes than the ones that were trained. In fp64 the products are exact, and what their sum's order
changes disappears when it is rounded to fp32.
"""

from __future__ import annotations

from typing import Any

import torch

_ROWS = 1 << 22
"""Numbers of a product that are held in fp64 at once."""


def exact_delta(layer: Any, adapter: str) -> Any:
    """Return what an adapter adds to its layer's weights, in fp32.

    Args:
        layer: PEFT's linear layer.
        adapter: The adapter's name.
    """
    down = layer.lora_A[adapter].weight.detach().double()
    up = layer.lora_B[adapter].weight.detach().double().mul_(float(layer.scaling[adapter]))
    delta = torch.empty(up.shape[0], down.shape[1], device=down.device)
    step = max(1, _ROWS // down.shape[1])
    for start in range(0, up.shape[0], step):
        part = slice(start, start + step)
        delta[part] = up[part] @ down
    return delta.t() if layer.fan_in_fan_out else delta


def use_exact_deltas(adapted: Any) -> None:
    """Have PEFT merge plain linear layers with `exact_delta`.

    Args:
        adapted: PEFT's wrapper around a network.
    """
    from functools import partial

    from peft.tuners.lora import Linear

    for layer in adapted.modules():
        if type(layer) is Linear:
            layer.get_delta_weight = partial(exact_delta, layer)
