"""Whether embedding and head share their weights: as PyTorch finds it, in every case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paretune.core.errors import UsageError
from paretune.models.handle import inspect
from paretune.models.tied import TIED_BY_DEFAULT
from tests.tiny_models import make_tiny_llama


def make(folder: Path, *, says: bool | None, holds: str, model_type: str | None = None) -> Path:
    """Write a small model.

    Args:
        folder: Where.
        says: ``tie_word_embeddings``; None: left out.
        holds: What its file holds: ``one`` matrix, ``same`` (both, equal) or ``two``.
        model_type: Of config.json.
    """
    from safetensors.torch import load_file, save_file

    make_tiny_llama(folder, tied=holds == "one")
    config = json.loads((folder / "config.json").read_text())
    del config["tie_word_embeddings"]
    if says is not None:
        config["tie_word_embeddings"] = says
    if model_type is not None:
        config["model_type"] = model_type
    (folder / "config.json").write_text(json.dumps(config))
    if holds == "same":
        weights = load_file(folder / "model.safetensors")
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def loaded_as_tied(folder: Path) -> bool:
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(folder)
    embedding, head = network.get_input_embeddings(), network.get_output_embeddings()
    return bool(embedding.weight.data_ptr() == head.weight.data_ptr())


@pytest.mark.parametrize("says", [True, False, None])
@pytest.mark.parametrize("holds", ["one", "same", "two"])
def test_what_is_read_is_what_pytorch_loads(tmp_path: Path, says: bool | None, holds: str) -> None:
    folder = make(tmp_path / "m", says=says, holds=holds)
    if holds == "one" and not says:  # a Llama's are not shared by default
        with pytest.raises(UsageError, match=r"hold no head \(lm_head.weight\)") as caught:
            inspect(folder)
        assert "tie_word_embeddings" in caught.value.message
        return
    found = inspect(folder)
    assert found.tied is loaded_as_tied(folder)
    embedding = found.vocab_size * found.hidden_size
    whole = inspect(make(tmp_path / "w", says=False, holds="two")).parameters
    assert found.parameters == whole - (embedding if found.tied else 0)


def test_an_architecture_whose_default_is_to_share(tmp_path: Path) -> None:
    assert inspect(make(tmp_path / "a", says=None, holds="one", model_type="gemma2")).tied
    assert not inspect(make(tmp_path / "b", says=False, holds="two", model_type="gemma2")).tied
    assert not inspect(make(tmp_path / "c", says=None, holds="two", model_type="gemma2")).tied


def test_the_list_of_defaults_is_that_of_transformers() -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    from paretune.passes.genai.options import _MODEL_TYPES

    def default(model_type: str) -> Any:
        return getattr(CONFIG_MAPPING[model_type](), "tie_word_embeddings", None)

    known = [name for name in CONFIG_MAPPING if name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES]
    asked = (TIED_BY_DEFAULT | _MODEL_TYPES) & set(known)
    assert {name for name in asked if default(name)} == TIED_BY_DEFAULT & asked
    assert asked >= TIED_BY_DEFAULT
