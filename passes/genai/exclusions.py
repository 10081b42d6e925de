"""Which nodes a build cannot leave in fp32: those of dropped layers, and parts of what is fused."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from paretune.core.model import ModelInfo

_OF_A_LAYER = re.compile(r"/model/layers\.(\d+)/(.+)/MatMul")
_NUMBER = re.compile(r"\blayers\.(\d+)/")
_OF_QKV = ("attn/q_proj", "attn/k_proj", "attn/v_proj")
_APART_BEFORE_ATTENTION = ("gemma3", "hunyuan", "lfm2", "qwen3")
"""Norms of queries and keys stand between what is fused and the attention."""


def beyond_its_layers(model: ModelInfo, parameter_name: str, names: Iterable[str]) -> str | None:
    """Return why a parameter names nodes of a layer that a model has not, or None.

    Args:
        model: What is built; layers may have been dropped.
        parameter_name: The parameter.
        names: Names of nodes, or patterns over them.
    """
    layers = [int(number) for name in names for number in _NUMBER.findall(name)]
    last = max(layers, default=-1)
    if not model.layers or last < model.layers:
        return None
    return (
        f"{parameter_name} names layer {last}, and what is built has {model.layers} layers, "
        "counted from 0"
    )


def why_not_excluded(model: ModelInfo, names: Collection[str], *, fuse_qkv: bool) -> str | None:
    """Return why a build cannot leave the named nodes in fp32, or None.

    Args:
        model: What is built.
        names: Of the nodes.
        fuse_qkv: Whether query, key and value become one matrix where none of them is named.
    """
    why = beyond_its_layers(model, "nodes_to_exclude", names)
    if why is not None:
        return why
    places = [_OF_A_LAYER.fullmatch(name) for name in names]
    named = [(int(place[1]), place[2]) for place in places if place is not None]
    if not fuse_qkv or model.model_type.startswith(_APART_BEFORE_ATTENTION):
        return None
    apart = {layer for layer, node in named if node in _OF_QKV}
    fused = sorted(set(range(min(apart, default=0), model.layers)) - apart)
    if apart and fused:  # the builder has layer `fused` read the keys of a layer before it
        return (
            f"nodes_to_exclude names a query, key or value projection of layer {min(apart)}, and "
            f"in layer {fused[0]} the three are one matrix: the builder makes a graph of this that "
            "does not load; give fuse_qkv: false"
        )
    return None
