"""What the model builder leaves out is found on a small twin, by key, before the model is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paretune.core.jsontools import read_json
from paretune.passes.genai.twin import look
from paretune.preflight.buildable import is_plain
from tests.tiny_models import make_tiny_llama

_SIZES = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}


def configuration(folder: Path, kind: str, raw: dict[str, Any], **settings: Any) -> Path:
    """Write a model's configuration; `raw` is what its file says otherwise than the library."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    config = AutoConfig.for_model(kind, **{**_SIZES, **settings})
    config.architectures = [MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].__name__]
    config.save_pretrained(folder)
    file = folder / "config.json"
    content = json.loads(file.read_text())
    if "rope_scaling" in raw:
        content.pop("rope_parameters", None)
    file.write_text(json.dumps(content | raw))
    return folder


def rope(**settings: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_theta": 10000.0, **settings}}


YARN = {"factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3 = {**YARN, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize(
    ("kind", "raw", "settings"),
    [
        ("llama", {}, {}),
        ("llama", rope(rope_type="llama3", **LLAMA3), {}),
        ("llama", {"rope_theta": 10000.0, "rope_scaling": {"type": "llama3", **LLAMA3}}, {}),
        ("llama", {}, {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 1}),
        ("mistral", rope(rope_type="linear", factor=4.0), {"sliding_window": None}),
        ("qwen2", {}, {"use_sliding_window": False, "sliding_window": 64}),
        ("qwen3", {}, {"attention_bias": True}),
        ("gemma2", {}, {}),
        ("granite", {}, {"embedding_multiplier": 3.0, "residual_multiplier": 0.5}),
    ],
)
def test_what_is_built_right_is_let_pass(
    tmp_path: Path, kind: str, raw: dict[str, Any], settings: dict[str, Any]
) -> None:
    assert look(str(configuration(tmp_path, kind, raw, **settings)))["same"] is True


@pytest.mark.parametrize(
    ("kind", "raw", "settings", "key"),
    [
        ("llama", rope(rope_type="linear", factor=4.0), {}, "rope_parameters"),
        ("llama", rope(rope_type="yarn", **YARN), {}, "rope_parameters"),
        (
            "llama",
            {"rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 4.0}},
            {},
            "rope_scaling",
        ),
        ("llama", rope(rope_type="default", partial_rotary_factor=0.5), {}, "rope_parameters"),
        ("qwen2", rope(rope_type="yarn", **YARN), {}, "rope_parameters"),
        (
            "mistral",
            rope(rope_type="dynamic", factor=2.0),
            {"sliding_window": None},
            "rope_parameters",
        ),
        ("llama", {"attn_logit_softcapping": 5.0}, {}, "attn_logit_softcapping"),
        (
            "phi",
            {},
            {
                "partial_rotary_factor": 0.5,
                "head_dim": 32,
                "hidden_size": 128,
                "qk_layernorm": True,
            },
            "qk_layernorm",
        ),
    ],
)
def test_what_is_left_out_is_named(
    tmp_path: Path, kind: str, raw: dict[str, Any], settings: dict[str, Any], key: str
) -> None:
    found = look(str(configuration(tmp_path, kind, raw, **settings)))
    assert (found["same"], found["key"]) == (False, key)


def test_a_window_that_is_left_out_is_known_up_to_its_length(tmp_path: Path) -> None:
    long = {"sliding_window": 4096, "max_position_embeddings": 32768}
    found = look(str(configuration(tmp_path, "mistral", {}, **long)))
    assert (found["key"], found["window"]) == ("sliding_window", 4096)


def test_a_configuration_that_no_library_reads_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no_such_model"}')
    assert look(str(tmp_path))["same"] is None


def test_a_plain_llama_is_not_asked_about(tmp_path: Path) -> None:
    config = read_json(make_tiny_llama(tmp_path) / "config.json")
    assert is_plain(config)
    for changes in (
        {"sliding_window": 16},
        {"rope_scaling": {"type": "linear"}},
        {"model_type": "mistral"},
        {"partial_rotary_factor": 0.5},
        {"hidden_act": "gelu"},
        {"anything_new": 1},
        rope(rope_type="yarn"),
        rope(rope_type="default", partial_rotary_factor=0.5),
    ):
        assert not is_plain({**config, **changes}), changes
