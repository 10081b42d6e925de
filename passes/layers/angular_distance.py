"""How far blocks of decoder layers turn the hidden states (Gromov et al., arXiv 2403.17887).

The angular distance of two vectors is the angle between them, divided by pi. A block whose output
is nearly its input is the one whose absence the layers behind it notice least. The paper takes the
last token of many texts. Here all tokens but the first one of each text are used, so that a few
texts suffice; the first token's states are those of the attention sink, far larger than others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from paretune.core.errors import PassError
from paretune.core.progress import Progress

_CHECKED_TOKENS = 64


def decoder_layers(network: Any) -> Any:
    """Return the decoder layers of a causal language model, a ModuleList.

    Raises:
        PassError: There are none at the usual place, or not as many as its configuration says.
    """
    layers = getattr(network.base_model, "layers", None)
    told = getattr(network.config, "num_hidden_layers", None)
    if layers is None or len(layers) != told:
        there = "none" if layers is None else str(len(layers))
        raise PassError(
            f"drop_layers: expected {told} decoder layers in `layers` of "
            f"{type(network.base_model).__name__}, found {there}",
            hint="Leave drop_layers out: this model's layers are elsewhere.",
        )
    return layers


def distances(
    network: Any,
    rows: Sequence[Sequence[int]],
    count: int,
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[float]:
    """Return the mean angular distance of each block of so many layers, by its first layer.

    Args:
        network: In fp32.
        rows: Texts as token ids, of at least two tokens each.
        count: Layers of a block.
        progress: Takes the progress.
    """
    import torch

    blocks = len(decoder_layers(network)) - count + 1
    sums, tokens = [0.0] * blocks, 0
    for number, ids in enumerate(rows, start=1):
        states = _states(network, ids)
        for first in range(blocks):
            before, after = states[first].double(), states[first + count].double()
            cosine = torch.nn.functional.cosine_similarity(before, after, dim=-1).clamp(-1, 1)
            sums[first] += float(torch.arccos(cosine).sum()) / math.pi
        tokens += len(ids) - 1
        progress(Progress("drop_layers", 0, 3, f"hidden states of text {number} of {len(rows)}"))
    found = [total / tokens for total in sums]
    if not all(map(math.isfinite, found)):
        raise PassError(
            "drop_layers: the model's hidden states are not finite, so no distance is known",
            hint="Check the model: its weights may hold a NaN.",
        )
    return found


def logits_without(network: Any, block: range, ids: Sequence[int]) -> Any:
    """Return the logits that a network gives when a block of its layers changes nothing.

    Args:
        network: All of it; it is as before afterwards.
        block: The layers.
        ids: A text, of which the first tokens are used.
    """
    layers = decoder_layers(network)
    hooks = [layers[place].register_forward_hook(_unchanged, with_kwargs=True) for place in block]
    try:
        return logits(network, ids)
    finally:
        for hook in hooks:
            hook.remove()


def logits(network: Any, ids: Sequence[int]) -> Any:
    """Return a network's logits after each of the first tokens of a text."""
    import torch

    with torch.no_grad():
        given = torch.tensor([list(ids[:_CHECKED_TOKENS])])
        return network(input_ids=given, use_cache=False).logits[0]


def _states(network: Any, ids: Sequence[int]) -> list[Any]:
    """Return the input of each decoder layer and the output of the last, of all tokens but one."""
    import torch

    states: list[Any] = []

    def before(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states.append(_given(args, kwargs)[0, 1:])

    def after(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        states.append((output[0] if isinstance(output, tuple) else output)[0, 1:])

    layers = decoder_layers(network)
    hooks = [layer.register_forward_pre_hook(before, with_kwargs=True) for layer in layers]
    hooks.append(layers[-1].register_forward_hook(after, with_kwargs=True))
    try:
        with torch.no_grad():
            network.base_model(input_ids=torch.tensor([list(ids)]), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return states


def _unchanged(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    given = _given(args, kwargs)
    return (given, *output[1:]) if isinstance(output, tuple) else given


def _given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[0] if args else kwargs["hidden_states"]
