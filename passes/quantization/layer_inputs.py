"""What the matrices of a network get as inputs from texts, layer by layer; for workers only.

Held are the network, the hidden states of the texts, and what one layer's matrices got.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch


def outputs_of(
    layer: Any, number: int, states: Sequence[Any], calls: Sequence[Sequence[dict[str, Any]]]
) -> list[Any]:
    """Return what a decoder layer makes of each text's hidden states.

    Args:
        layer: The layer.
        number: Its number.
        states: The hidden states that it gets, by text.
        calls: What each layer gets beside them, from `entered`.
    """
    found = []
    for state, of_text in zip(states, calls, strict=True):
        output = layer(state, **of_text[number])
        found.append(output[0] if isinstance(output, tuple) else output)
    return found


def importance_of_head(network: Any, rows: Sequence[Sequence[int]]) -> Any:
    """Return the sum of the squares of each of the head's inputs over texts, (inputs,).

    Args:
        network: A causal language model.
        rows: Texts as token ids.
    """
    found: Any = 0.0
    for ids in rows:
        run = network.base_model(input_ids=torch.tensor([list(ids)]), use_cache=False)
        found = run.last_hidden_state[0].square().sum(0) + found
    return found


def entered(
    network: Any, rows: Sequence[Sequence[int]]
) -> tuple[list[Any], list[list[dict[str, Any]]]]:
    """Return what the first layer gets of each text, and what each layer gets beside its input.

    Args:
        network: A causal language model.
        rows: Texts as token ids.

    Returns:
        Hidden states by text; keyword arguments by text and layer.
    """
    layers = list(network.base_model.layers)
    states: list[Any] = []
    calls: list[list[dict[str, Any]]] = []

    def recorder(number: int) -> Callable[..., Any]:
        def record(hidden_states: Any, **how: Any) -> Any:
            if number == 0:
                states.append(hidden_states)
                calls.append([])
            calls[-1].append(how)
            return hidden_states

        return record

    for number, layer in enumerate(layers):
        layer.forward = recorder(number)
    try:
        for ids in rows:
            network.base_model(input_ids=torch.tensor([list(ids)]), use_cache=False)
    finally:
        for layer in layers:
            del layer.forward
    return states, calls


@contextmanager
def hessians_of(linear: Iterable[Any]) -> Iterator[dict[int, Any]]:
    """Yield the sums of the outer products of each layer's inputs, by `id`, while they run.

    Args:
        linear: Linear layers. Those with the same inputs share a sum.
    """
    modules = list({id(module): module for module in linear}.values())
    found: dict[int, Any] = {}
    last: dict[str, Any] = {"inputs": None, "of": None}

    def seen(module: Any, args: tuple[Any, ...]) -> None:
        inputs = args[0]
        if inputs is last["inputs"]:
            found[id(module)] = found[last["of"]]
            return
        last.update(inputs=inputs, of=id(module))
        flat = inputs.flatten(0, -2)
        if id(module) not in found:
            found[id(module)] = torch.zeros(flat.shape[1], flat.shape[1])
        found[id(module)].addmm_(flat.t(), flat)

    with _watched(modules, seen):
        yield found


@contextmanager
def samples_of(linear: Iterable[Any], most: int, tokens: int) -> Iterator[dict[int, list[Any]]]:
    """Yield inputs of some tokens, evenly spread, of each layer, by `id` and text, while they run.

    Args:
        linear: Linear layers.
        most: How many tokens, about.
        tokens: How many there are in all texts.
    """
    step = max(1, tokens // most)
    found: dict[int, list[Any]] = {id(module): [] for module in linear}

    def keep(module: Any, args: tuple[Any, ...]) -> None:
        found[id(module)].append(args[0].flatten(0, -2)[::step].clone())

    with _watched(linear, keep):
        yield found


@contextmanager
def _watched(linear: Iterable[Any], see: Callable[[Any, tuple[Any, ...]], None]) -> Iterator[None]:
    """Have a function called with each layer and its inputs whenever it runs."""
    hooks = [module.register_forward_pre_hook(see) for module in linear]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
