"""Why the builder fails, and what is wrong with a config.json, in words that name the key."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from paretune.core.jsontools import read_json
from paretune.passes.genai.builder_errors import told
from paretune.passes.genai.builder_support import known_architectures, unsupported
from paretune.passes.genai.readable import refused
from paretune.passes.genai.twin import look
from paretune.preflight.buildable import is_plain
from tests.passes.genai.test_twin import configuration, rope
from tests.tiny_models import make_tiny_llama

BUILDER = "the model builder (onnxruntime-genai 1)"


def test_the_builders_own_names_are_known() -> None:
    known = known_architectures()
    assert {"LlamaForCausalLM", "Qwen2ForCausalLM", "Phi3ForCausalLM"} <= set(known)
    assert "GPT2LMHeadModel" not in known


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"},
            ("does not build GPT2LMHeadModel", "'gpt2'", "it builds", "Llama, ", "PyTorch"),
        ),
        ({"architectures": ["LlamaModel"], "model_type": "llama"}, ("LlamaModel",)),
        ({}, ("architectures of config.json, which is missing", '["LlamaForCausalLM"]')),
        ({"architectures": None}, ("which is None, expected a list",)),
        ({"architectures": []}, ("which is [], expected a list",)),
        ({"architectures": "LlamaForCausalLM"}, ("which is 'LlamaForCausalLM', expected a list",)),
        ({"architectures": [None]}, ("which is [None]",)),
        (
            {"architectures": ["Phi3ForCausalLM"], "max_position_embeddings": 256},
            ("max_position_embeddings is 256", "4096 by default: the key is missing", "to 256"),
        ),
        (
            {
                "architectures": ["Phi3ForCausalLM"],
                "max_position_embeddings": 256,
                "original_max_position_embeddings": 64,
                "rope_scaling": None,
            },
            ("original_max_position_embeddings 64, so that it expects rope_scaling",),
        ),
    ],
)
def test_what_is_not_built_is_told_from_its_keys(
    config: dict[str, Any], words: tuple[str, ...]
) -> None:
    why = unsupported(Path("/somewhere/config.json"), config, BUILDER)
    assert why is not None
    assert "/somewhere" not in why
    for word in words:
        assert word in why


@pytest.mark.parametrize(
    "config",
    [
        {"architectures": ["LlamaForCausalLM"]},
        {"architectures": ["Phi3ForCausalLM"], "max_position_embeddings": 4096},
        {
            "architectures": ["Phi3ForCausalLM"],
            "max_position_embeddings": 256,
            "original_max_position_embeddings": 256,
        },
        {
            "architectures": ["Phi3ForCausalLM"],
            "max_position_embeddings": 8192,
            "rope_scaling": {"type": "longrope"},
        },
    ],
)
def test_what_is_built_is_let_pass(config: dict[str, Any]) -> None:
    assert unsupported(Path("config.json"), config, BUILDER) is None


def test_a_key_that_the_builder_misses_is_named(tmp_path: Path) -> None:
    found = look(str(configuration(tmp_path, "gemma3_text", {})))
    assert found["same"] is False
    assert "looks for the key 'rope_type' in rope_parameters of config.json" in found["why"]
    assert "full_attention" in found["why"]
    assert "KeyError" not in found["why"]


@pytest.mark.parametrize("kind", ["gpt2", "smollm3", "olmo2"])
def test_no_failure_shows_a_folder_of_this_machine(tmp_path: Path, kind: str) -> None:
    found = look(str(configuration(tmp_path, kind, {})))
    assert found["same"] is False
    assert not re.search(r"/tmp|[/\\]\w+[/\\]\w+", found["why"])


def test_an_error_of_the_builders_own_is_told_as_one(tmp_path: Path) -> None:
    try:
        raise ValueError(f"{tmp_path}/model: no such thing\nsecond line")
    except ValueError as error:
        why = told(error, tmp_path / "model", tmp_path)
    assert why == "the builder refuses it: model: no such thing"
    assert told(KeyError("x"), tmp_path) == "the builder fails with KeyError: 'x'"
    error = AttributeError("'LlamaConfig' object has no attribute 'some_key'")
    assert "looks for the key 'some_key' in config.json" in told(error, tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "nonsense"}, ("model_type is 'nonsense'", "no such architecture")),
        ({"model_type": None}, ("model_type is None",)),
        ({"hidden_size": "64"}, ("hidden_size is '64'", "expected int, got str")),
        ({"num_hidden_layers": None}, ("num_hidden_layers is null", "expected int")),
        ({"rms_norm_eps": None}, ("rms_norm_eps", "expected float")),
        ({"num_attention_heads": 3, "num_key_value_heads": 3}, ("not a multiple", "heads (3)")),
        ({"rope_theta": "x", "rope_parameters": None}, ("rope_theta is 'x', expected a number",)),
        (
            {"num_attention_heads": 0},
            ("num_attention_heads is 0, expected a whole number above 0",),
        ),
        ({"hidden_act": "nonsense"}, ("hidden_act is 'nonsense'", "none of that name")),
        (rope(rope_type="nonsense"), ("rope_parameters.rope_type is 'nonsense'",)),
        (rope(rope_type="llama3", factor=4.0), ("rope_type is 'llama3'", "high_freq_factor")),
        (rope(rope_type="linear"), ("Missing required keys", "factor")),
        ({"tie_word_embeddings": "yes"}, ("tie_word_embeddings is 'yes'", "expected bool")),
        ({"eos_token_id": "x"}, ("eos_token_id is 'x'",)),
        ({"torch_dtype": "float128", "dtype": "float128"}, ("dtype is 'float128'",)),
    ],
)
def test_a_configuration_that_transformers_does_not_take_is_refused_by_key(
    tmp_path: Path, change: dict[str, Any], words: tuple[str, ...]
) -> None:
    file = configuration(tmp_path, "llama", change) / "config.json"
    why = refused(file.parent)
    assert why is not None
    for word in words:
        assert word in why
    assert str(tmp_path) not in why
    assert not is_plain(json.loads(file.read_text()))


def test_what_transformers_takes_is_let_pass(tmp_path: Path) -> None:
    assert refused(make_tiny_llama(tmp_path)) is None
    assert is_plain(read_json(tmp_path / "config.json"))


def test_a_missing_type_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert "model_type is missing" in str(refused(tmp_path))
