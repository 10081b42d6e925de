"""A small model of the same structure as a large one: its first layers, and little vocabulary.

What a translator makes of an architecture (positions, attention, norms, caps) is the same for two
layers as for thirty. Built at full precision, the small model shows a mistake that the rounding of
a quantized build would hide, in a fraction of its time. Windows of positions are made small too, so
that a short sequence reaches beyond them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paretune.core.jsontools import read_json
from paretune.core.model import Model
from paretune.data.context import Context
from paretune.models.containment import check_model
from paretune.models.remote_code import explained
from paretune.passes.hugging_face import note_tying
from paretune.passes.lora.merge import copy_companions

LAYERS = 2
_MAX_LAYERS = 8
"""A model with more layers before its last kind of layer has come is not sketched."""
VOCABULARY = 512
WINDOW = 64
"""Positions of a sketch's windows (sliding attention, the original context of a scaled RoPE)."""
CONTEXT = 512


def beyond(source: Path) -> bool:
    """Return whether a model treats positions otherwise than plain RoPE does, as its folder says.

    Its mistakes may lie beyond any sequence that the whole model can be run on in little time.
    """
    config = read_json(source / "config.json")
    text = config.get("text_config")
    places = [config, text if isinstance(text, dict) else {}]
    for place in places:
        for key in ("rope_parameters", "rope_scaling"):
            settings = place.get(key)
            if isinstance(settings, dict) and any(
                inner.get("rope_type", inner.get("type", "default")) != "default"
                for inner in (settings, *(v for v in settings.values() if isinstance(v, dict)))
            ):
                return True
        if place.get("sliding_window") is not None or place.get("layer_types") is not None:
            return True
    return False


def write_sketch(model: Model, out: Path, context: Context) -> str | None:
    """Write a small Hugging Face model with the first layers of a large one.

    Args:
        model: A Hugging Face one.
        out: The folder to make.
        context: Whether its own code may run.

    Returns:
        None, or why there is none.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    from paretune.core.errors import PassError

    logging.disable_progress_bar()
    source = model.path
    check_model(source)
    trusted = context.trust_remote_code
    with explained(source, trusted, PassError):
        config = AutoConfig.from_pretrained(
            source, local_files_only=True, trust_remote_code=trusted
        )
    if config.get_text_config() is not config:
        return "its text model is a part of a larger one"
    why = cut(config)
    if why is not None:
        return why
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # the layers that are left out are told one by one
    try:
        with explained(source, trusted, PassError):
            network = AutoModelForCausalLM.from_pretrained(
                source,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=trusted,
            )
    finally:
        logging.set_verbosity(before)
    note_tying(network)
    vocabulary = min(VOCABULARY, network.get_input_embeddings().weight.shape[0])
    network.resize_token_embeddings(vocabulary)
    for settings in (network.config, network.generation_config):
        _without_large_ids(settings, vocabulary)
    out.mkdir(parents=True)
    network.save_pretrained(out)
    copy_companions(model, out, trust_remote_code=trusted, without={"generation_config.json"})
    return None


def cut(config: Any) -> str | None:
    """Make a configuration that of a sketch, in place; return why that cannot be."""
    whole = config.num_hidden_layers
    kinds = list(getattr(config, "layer_types", None) or [])
    layers = min(LAYERS, whole)
    while kinds and set(kinds[:layers]) != set(kinds):
        layers += 1
    if layers > _MAX_LAYERS:
        return f"its first {_MAX_LAYERS} layers are not of every kind that it has"
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == whole and whole > layers:
            setattr(config, name, value[:layers])
    config.num_hidden_layers = layers
    _narrow(config)
    return None


def _narrow(config: Any) -> None:
    """Make windows of positions small, each in the same relation to the context as before."""
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(getattr(config, "sliding_window", None), int):
        config.sliding_window = min(config.sliding_window, WINDOW)
    places = [vars(config), *(d for d in _rope(config) if isinstance(d, dict))]
    key = "original_max_position_embeddings"
    originals = [p[key] for p in places if isinstance(p.get(key), int)]
    if not isinstance(positions, int):
        return
    if originals and min(originals) > WINDOW:
        ratio = positions / max(originals)
        for place in places:
            if isinstance(place.get(key), int):
                place[key] = WINDOW
        config.max_position_embeddings = max(2, int(WINDOW * ratio))
    elif not originals:
        config.max_position_embeddings = min(positions, CONTEXT)


def _rope(config: Any) -> list[Any]:
    """Return every dictionary of RoPE settings: one, or one a kind of layer."""
    found = getattr(config, "rope_parameters", None)
    if not isinstance(found, dict):
        return []
    return [found, *(value for value in found.values() if isinstance(value, dict))]


def _without_large_ids(settings: Any, vocabulary: int) -> None:
    """Drop special tokens that the small vocabulary lacks."""
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(settings, name, None)
        values = value if isinstance(value, list) else [value]
        kept = [one for one in values if isinstance(one, int) and 0 <= one < vocabulary]
        if kept != values:
            setattr(settings, name, kept[0] if kept else (None if "pad" in name else 1))
