"""How many tokens a model's context holds, by what its folder says."""

from __future__ import annotations

from paretune.core.errors import UsageError
from paretune.core.jsontools import Json, read_model_json
from paretune.core.model import Model, ModelKind

_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length")


def most_tokens(model: Model) -> int | None:
    """Return how many tokens a model's context holds; None if its folder does not say."""
    genai = model.kind is ModelKind.GENAI
    folder = model.base.path if model.base is not None else model.path
    try:
        settings = read_model_json(folder / ("genai_config.json" if genai else "config.json"))
    except UsageError:  # whoever opens the model says what is wrong with it
        return None
    if genai:
        inner = settings.get("model", {})
        return _first(inner, ("context_length",)) if isinstance(inner, dict) else None
    text = settings.get("text_config")
    found = _first(settings, _KEYS)
    return found if found is not None or not isinstance(text, dict) else _first(text, _KEYS)


def _first(settings: dict[str, Json], keys: tuple[str, ...]) -> int | None:
    for key in keys:
        held = settings.get(key)
        if type(held) is int and held > 0:
            return held
    return None
