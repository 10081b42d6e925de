"""Chains of Olive's that build a language model in several passes, where ``genai`` takes one.

Olive converts a language model, optimizes its graph and only then adds what ONNX Runtime GenAI
needs (``ModelBuilder`` with ``metadata_only``), or quantizes what ``ModelBuilder`` built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paretune.config.olive.adapters import Environment
from paretune.config.olive.entries import Ledger, Status
from paretune.config.olive.networks import genai_weights
from paretune.config.olive.reading import PassConfig
from paretune.config.yaml_source import Path
from paretune.core.jsontools import Json

_CONVERTS = frozenset({"onnxconversion", "orttransformersoptimization", "extractadapters"})
_EXTRACTS = "extractadapters"
_BUILDS = "modelbuilder"
_ROUNDS = frozenset({"onnxblockwisertnquantization", "onnxmatmul4quantizer"})
_WHOLE = "ModelBuilder follows with metadata_only: `genai` builds the whole graph in one pass"


@dataclass(frozen=True)
class WholeBuild:
    """The passes of a flow that one pass of ours stands for.

    Attributes:
        builder: Olive's name of the ModelBuilder.
        parts: Olive's names of the passes before it.
        apart: Whether adapters stay beside the model.
    """

    builder: str
    parts: tuple[str, ...]
    apart: bool


def whole_build(names: Sequence[str], passes: Mapping[str, list[PassConfig]]) -> WholeBuild | None:
    """Return what one pass stands for in a flow; None: there is no such chain."""
    for place, name in enumerate(names):
        (first, *others) = passes[name]
        if others or _type(first) != _BUILDS or first.settings.peek("metadata_only") is not True:
            continue
        parts = []
        for before in reversed(names[:place]):
            if len(passes[before]) > 1 or _type(passes[before][0]) not in _CONVERTS:
                break
            parts.append(before)
        if parts:
            apart = any(_type(passes[part][0]) == _EXTRACTS for part in parts)
            return WholeBuild(name, tuple(parts), apart)
    return None


def record_parts(build: WholeBuild, passes: Mapping[str, list[PassConfig]], ledger: Ledger) -> None:
    """Record the keys of the passes that the builder's stands for."""
    for part in build.parts:
        (config,) = passes[part]
        if config.type is not None:
            ledger.approximated(config.type.path, None, _WHOLE)
        for fields in (config.settings, config.beside):
            fields.rest(ledger, Status.NO_EFFECT, "the pass is a part of `genai` here")
    (builder,) = passes[build.builder]
    node = builder.settings.take("metadata_only")
    if node is not None:
        ledger.approximated(node.path, None, _WHOLE)


def rounds(config: PassConfig) -> bool:
    """Return whether a pass rounds the matrices of what ModelBuilder built."""
    return _type(config) in _ROUNDS


def rounding(config: PassConfig, at: Path, around: Environment) -> dict[str, Json]:
    """Return the parameters of ``genai`` for a build in 16 bits that a pass rounds to 4 or 8."""
    found = genai_weights(config, at, around)
    bits = found.pop("bits", 4)
    if "exclude" in found:
        found["nodes_to_exclude"] = found.pop("exclude")
    if bits != 4:  # the builder names algorithms of 4 bits only
        found.pop("algorithm", None)
    return {"precision": f"int{bits}", **found}


def _type(config: PassConfig) -> str:
    value = None if config.type is None else config.type.value
    return value.lower() if isinstance(value, str) else ""
