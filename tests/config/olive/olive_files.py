"""Olive configurations for tests: small ones of both generations, and the public ones."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paretune.config.olive import Entry, Status, Translation, translate
from paretune.config.yaml_source import Path as KeyPath
from paretune.config.yaml_source import Source

ROOT = Path(__file__).resolve().parents[3]
SHARED = ROOT.parent / "shared"
PUBLIC = sorted((SHARED / "data" / "olive-configs").glob("*.json"))
SEED = SHARED / "seed" / "olive-config.local.json"
SEEDS = [f for f in (SEED, SEED.with_name("olive-config.azureml.json")) if f.is_file()]
OWN = sorted((ROOT / "tests" / "fixtures" / "olive").glob("*.json"))

_FLAT: dict[str, Any] = {
    "input_model": {"type": "HfModel", "model_path": "models/tiny"},
    "data_configs": [
        {
            "name": "tone",
            "type": "HuggingfaceContainer",
            "load_dataset_config": {
                "data_name": "json",
                "data_files": "tone.json",
                "split": "train",
            },
            "pre_process_data_config": {"text_template": "{phrase}\n{tone}", "max_seq_len": 64},
        }
    ],
    "passes": {
        "l": {"type": "LoRA", "train_data_config": "tone", "target_modules": ["q_proj"]},
        "m": {"type": "MergeAdapterWeights"},
        "b": {"type": "ModelBuilder", "precision": "int4"},
    },
}
_NESTED: dict[str, Any] = {
    "input_model": {
        "type": "PyTorchModel",
        "config": {"hf_config": {"model_name": "models/tiny", "task": "text-generation"}},
    },
    "data_configs": [
        {
            "name": "tone",
            "type": "HuggingfaceContainer",
            "params_config": {
                "data_name": "json",
                "data_files": "tone.json",
                "split": "train",
                "component_kwargs": {
                    "pre_process_data": {
                        "text_template": "{phrase}\n{tone}",
                        "corpus_strategy": "join",
                        "source_max_len": 64,
                    }
                },
            },
        }
    ],
    "passes": {
        "l": {
            "type": "LoRA",
            "config": {"train_data_config": "tone", "target_modules": ["q_proj"]},
        },
        "m": {"type": "MergeAdapterWeights"},
        "b": {"type": "ModelBuilder", "config": {"precision": "int4"}},
    },
    "engine": {"search_strategy": False},
}


def flat(**changes: Any) -> dict[str, Any]:
    """Return a small configuration of Olive 0.7 or newer, with other top-level keys."""
    return {**copy.deepcopy(_FLAT), **changes}


def nested(**changes: Any) -> dict[str, Any]:
    """Return the same of Olive 0.6 or older."""
    return {**copy.deepcopy(_NESTED), **changes}


def build_only(**changes: Any) -> dict[str, Any]:
    """Return a flat configuration that builds and nothing else."""
    passes = {"b": {"type": "ModelBuilder", "precision": "int4"}}
    return {
        "input_model": {"type": "HfModel", "model_path": "models/tiny"},
        "passes": passes,
        **changes,
    }


def translation(value: Any) -> Translation:
    return translate(Source(json.dumps(value, indent=1), "olive.json"))


def whole(value: Any) -> dict[str, Any]:
    """Return our configuration, of which every part has to be supported."""
    found = translation(value)
    found.require_whole()
    return found.config


def refused(value: Any) -> dict[str, str]:
    """Return what is unsupported: key to reason."""
    return {e.key: str(e.why) for e in translation(value).of(Status.UNSUPPORTED)}


def entry(value: Any, key: str) -> Entry:
    """Return what became of a key."""
    found = value if isinstance(value, Translation) else translation(value)
    (one,) = [e for e in found.entries if e.key == key and e.status is not Status.ADDED]
    return one


def leaves(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield where the JSON ends: at plain values, lists of them, and what is empty."""
    inside: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list) and any(isinstance(one, (dict, list)) for one in value):
        inside = list(enumerate(value))
    if not inside:
        yield path
    for key, inner in inside:
        yield from leaves(inner, (*path, key))
