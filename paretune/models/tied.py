"""Whether a model's embedding and head share their weights: what its configuration and files say.

As PyTorch finds it when the model is loaded: where ``config.json`` leaves ``tie_word_embeddings``
out, the architecture's default holds; where it says that they are shared and the file holds two
matrices that differ, they are not shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paretune.core.errors import UsageError

_KEY = "tie_word_embeddings"
# Causal language models whose class shares them unless told otherwise (transformers 5.23;
# tests/test_tied.py holds the list against the installed one).
# fmt: off
TIED_BY_DEFAULT = frozenset(
    {
        "biogpt", "bloom", "cohere", "cohere2", "cohere2_moe", "cohere_compass_text", "cpmant",
        "ctrl", "ernie4_5", "ernie4_5_moe", "falcon", "falcon_mamba", "gemma", "gemma2", "gemma3",
        "gemma3_text", "gemma3n", "gemma3n_text", "gemma4", "gemma4_text", "gemma4_unified",
        "gemma4_unified_text", "gpt-sw3", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox_japanese",
        "granite_swa", "jetmoe", "lfm2", "lfm2_moe", "lfm3", "mamba", "minicpm3",
        "modernbert-decoder", "mpt", "openai-gpt", "opt", "recurrent_gemma", "smollm3",
        "starcoder2", "vaultgemma", "whisper", "xglm", "youtu", "zamba", "zamba2", "zaya",
    }
)
# fmt: on
EMBEDDINGS = ("embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings")
HEADS = ("lm_head", "embed_out")
_PIECE = 1 << 24


@dataclass(frozen=True)
class Place:
    """Where a tensor's bytes are.

    Attributes:
        file: In which file.
        start: First byte.
        end: Byte after the last.
        shape: Of the tensor.
        dtype: As the header calls it.
    """

    file: Path
    start: int
    end: int
    shape: tuple[int, ...]
    dtype: str


def twice_there(tensors: Mapping[str, Place]) -> int:
    """Return the weights of the head where the files hold both it and the embedding, else 0."""
    embedding, head = _find(tensors, EMBEDDINGS), _find(tensors, HEADS)
    return 0 if embedding is None or head is None else head.shape[0] * head.shape[1]


def is_tied(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Place]) -> bool:
    """Return whether embedding and head share their weights once the model is loaded.

    Args:
        folder: The model's, for messages.
        config: Its ``config.json``.
        tensors: Every tensor of its files.

    Raises:
        UsageError: They are not shared, and the files hold no head: it would be drawn at random.
    """
    told = _told(config)
    embedding, head = _find(tensors, EMBEDDINGS), _find(tensors, HEADS)
    if told:
        return embedding is None or head is None or _equal(embedding, head)
    if embedding is not None and head is None and _needs_head(config):
        says = f"{_KEY} is false" if _KEY in config else f"{_KEY} is left out, which means false"
        raise UsageError(
            f"{folder / 'config.json'}: {says} for {config.get('model_type')!r}, and the weights "
            "hold no head (lm_head.weight): it would be drawn at random",
            hint=f'If the head shares the embedding\'s weights, write "{_KEY}": true into '
            "config.json; else the weights are not whole: get the model again.",
        )
    return False


def _told(config: Mapping[str, Any]) -> bool:
    """Return what a configuration says, or its architecture's default."""
    text = config.get("text_config")
    places = (config, text) if isinstance(text, Mapping) else (config,)
    for place in places:
        if _KEY in place:
            return bool(place[_KEY])
    return config.get("model_type") in TIED_BY_DEFAULT


def _needs_head(config: Mapping[str, Any]) -> bool:
    names = config.get("architectures")
    return isinstance(names, list) and any(
        isinstance(name, str) and name.endswith("ForCausalLM") for name in names
    )


def _find(tensors: Mapping[str, Place], names: tuple[str, ...]) -> Place | None:
    found = (
        tensors[name]
        for name in sorted(tensors)
        if name.endswith(".weight")
        and name.split(".")[-2] in names
        and len(tensors[name].shape) == 2
    )
    return next(found, None)


def _equal(one: Place, other: Place) -> bool:
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    with open(one.file, "rb") as a, open(other.file, "rb") as b:
        a.seek(one.start)
        b.seek(other.start)
        left = one.end - one.start
        while left > 0:
            size = min(left, _PIECE)
            if a.read(size) != b.read(size):
                return False
            left -= size
    return True
