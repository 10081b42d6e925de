"""Which architectures the installed model builder builds, read from its source without running it.

The builder goes by the first name under ``architectures`` in config.json, and tells of one that it
does not know by the path of a folder only.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from paretune.core.jsontools import Json

_DISPATCH = re.compile(r"architectures\[0\] == [\"'](\w+)[\"']")
_OFTEN = re.compile(r"(For(CausalLM|ConditionalGeneration)|Model)$")
_LONGROPE = ("Phi3ForCausalLM", "Phi3SmallForCausalLM", "PhiMoEForCausalLM")
_ORIGINAL = 4096
"""What transformers takes where a Phi-3 does not name its original context."""
INSTEAD = (
    "use a checkpoint that it builds, or leave this pass out: the model is then measured through "
    "PyTorch"
)


@cache
def known_architectures() -> tuple[str, ...]:
    """Return the names that the installed builder knows, sorted; empty: it could not be read."""
    spec = importlib.util.find_spec("onnxruntime_genai")
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    for place in places:
        try:
            text = Path(place, "models", "builder.py").read_text(encoding="utf-8")
        except OSError:
            continue
        return tuple(sorted(set(_DISPATCH.findall(text)), key=str.casefold))
    return ()


def unsupported(file: Path, config: Mapping[str, Json], builder: str) -> str | None:
    """Return why the builder builds nothing of a configuration, as far as its keys tell.

    Args:
        file: The configuration's, for the message.
        config: Its content.
        builder: The builder, with its version.
    """
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        held = "is missing" if "architectures" not in config else f"is {names!r}"
        return (
            f"{builder} goes by the key architectures of {file.name}, which {held}, expected a "
            'list with the name of a class, such as ["LlamaForCausalLM"]: write there what the '
            f"model is, or {INSTEAD.split(', or ')[1]}"
        )
    known = known_architectures()
    if known and names[0] not in known:
        shown = ", ".join(dict.fromkeys(_OFTEN.sub("", name) for name in known))
        return (
            f"{builder} does not build {names[0]} ({file.name}: architectures; model_type "
            f"{config.get('model_type')!r}); it builds {shown}: {INSTEAD}"
        )
    return _no_long_rope(file, config, names[0], builder)


def _no_long_rope(file: Path, config: Mapping[str, Json], name: str, builder: str) -> str | None:
    """A Phi-3 whose context differs from its original one is built with longrope, always."""
    context = config.get("max_position_embeddings")
    original = config.get("original_max_position_embeddings", _ORIGINAL)
    if name not in _LONGROPE or type(context) is not int or context == original:
        return None
    for key in ("rope_parameters", "rope_scaling"):
        rope = config.get(key)
        if isinstance(rope, dict) and rope.get("rope_type", rope.get("type")) in ("longrope", "su"):
            return None
    said = "" if "original_max_position_embeddings" in config else " by default: the key is missing"
    return (
        f"{builder} does not build {name} from {file.name}: max_position_embeddings is {context} "
        f"and original_max_position_embeddings {original}{said}, so that it expects rope_scaling "
        f"of type longrope, which is missing: set original_max_position_embeddings to {context} "
        "if the model has plain positions, or add the rope_scaling that it was trained with"
    )
