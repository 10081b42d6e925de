"""Whether transformers takes a model's config.json at all, asked without its weights.

What it does not take, nothing here loads, trains or builds: each candidate would end in the
library's words. For workers only.
"""

from __future__ import annotations

import re
from pathlib import Path

from paretune.core.distributions import package_version
from paretune.core.jsontools import Json, read_model_json

_MAX_SIGNS = 300
_FIELD = re.compile(r"Validation error for (?:field|validator) '(\w+)'", re.IGNORECASE)
_COUNTS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)


def refused(folder: Path) -> str | None:
    """Return which key of a configuration is wrong, and how; None: the library takes it.

    Args:
        folder: A Hugging Face folder without code of its own.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    config = read_model_json(folder / "config.json")
    library = f"transformers {package_version('transformers')}"
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        held = "is missing" if "model_type" not in config else f"is {kind!r}"
        return f"model_type {held}, and {library} knows no such architecture"
    wrong = _wrong_number(config)
    if wrong is not None:
        return wrong
    try:
        known = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever a stranger's configuration makes a library raise
        return f"{_named(error, config)}{library} does not take it: {_line(error)}"
    return _unknown_word(known, config, library)


def _wrong_number(config: dict[str, Json]) -> str | None:
    """Return a size that is none, which a library divides by later on."""
    for key in _COUNTS:
        if type(value := config.get(key)) is int and value < 1:
            return f"{key} is {value}, expected a whole number above 0"
    rope = config.get("rope_parameters")
    for place, keys in (("", config), ("rope_parameters.", rope if isinstance(rope, dict) else {})):
        value = keys.get("rope_theta", 1)
        if type(value) not in (int, float) and value is not None:
            return f"{place}rope_theta is {_shown(value)}, expected a number"
    return None


def _unknown_word(known: object, config: dict[str, Json], library: str) -> str | None:
    """Return a value that names something that there is not: an activation, a kind of RoPE."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            AutoModelForCausalLM.from_config(known, trust_remote_code=False)
    except KeyError as error:
        word = error.args[0] if error.args else None
        place = _place_of(word, config) if isinstance(word, str) else None
        if place is not None:
            return f"{place} is {word!r}, and {library} knows none of that name"
    except Exception:  # of this form of the model, not of the configuration
        return None
    return None


def _place_of(word: str, config: dict[str, Json], within: str = "") -> str | None:
    for key, value in config.items():
        if value == word:
            return within + key
        inner = _place_of(word, value, f"{within}{key}.") if isinstance(value, dict) else None
        if inner is not None:
            return inner
    return None


def _named(error: Exception, config: dict[str, Json]) -> str:
    """Return which key it is about, as far as the library's words tell."""
    found = _FIELD.search(str(error))
    if found is not None and found[1] in config:
        return f"{found[1]} is {_shown(config[found[1]])}, and "
    for word in re.findall(r"'([^']+)'", str(error)):
        place = _place_of(word, config)
        if place is not None:
            return f"{place} is {word!r}, and "
    return ""


def _shown(value: Json) -> str:
    return "null" if value is None else repr(value)[:60]


def _line(error: Exception) -> str:
    """Return what a library says, the part of it that says most."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    text = lines[-1] if lines and _FIELD.search(lines[0]) else " ".join(lines)
    text = re.sub(r"^\w+Error: ", "", text).split(". Errors: ")[0].strip('"')
    text = text or type(error).__name__
    return text if len(text) <= _MAX_SIGNS else f"{text[:_MAX_SIGNS]}..."
