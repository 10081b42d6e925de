"""A base with an adapter on it holds every matrix of the adapter's file, or is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paretune.core.errors import InvalidArtifactError
from paretune.models.adapted import load_adapted
from paretune.models.adapter_input import check_adapter
from paretune.models.containment import ADAPTER
from paretune.models.handle import open_model
from tests.passes.genai.test_adapter import make_adapter
from tests.tiny_models import make_tiny_llama


def network(base: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_tiny_llama(tmp_path / "base")


@pytest.fixture
def adapter(tmp_path: Path, base: Path) -> Path:
    return make_adapter(open_model(base), tmp_path / "adapter", seed=1).path


def edit(adapter: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.torch import load_file, save_file

    file = adapter / ADAPTER
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def test_what_the_file_holds_is_in_the_network(base: Path, adapter: Path) -> None:
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    held = get_peft_model_state_dict(load_adapted(network(base), adapter))
    given = load_file(adapter / ADAPTER)
    assert given
    assert all(torch.equal(held[name], value) for name, value in given.items())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda t: {n.replace("model.layers", "module.layers"): v for n, v in t.items()},
            "have no place in the base",
        ),
        (lambda t: {n: v for n, v in t.items() if "layers.1." not in n}, "lacks"),
        (lambda t: {n: v for n, v in t.items() if "lora_B" not in n}, "lacks"),
        (lambda t: {n: v[:-1] if "lora_B" in n else v for n, v in t.items()}, "does not load"),
    ],
)
def test_what_would_be_left_out_is_refused(
    base: Path, adapter: Path, change: Callable[[dict[str, Any]], dict[str, Any]], told: str
) -> None:
    edit(adapter, lambda tensors: {n: v.clone() for n, v in change(tensors).items()})
    with pytest.raises(InvalidArtifactError, match=told):
        load_adapted(network(base), adapter)


def test_modules_that_the_settings_leave_out_are_refused(base: Path, adapter: Path) -> None:
    file = adapter / "adapter_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({**settings, "target_modules": settings["target_modules"][:1]}))
    with pytest.raises(InvalidArtifactError, match="does not name"):
        load_adapted(network(base), adapter)


def test_an_adapter_of_a_tied_head_fits_its_base(base: Path, tmp_path: Path) -> None:
    import warnings

    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["lm_head"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT warns of what `merge` takes care of
        get_peft_model(network(base), settings).save_pretrained(tmp_path / "head")
    assert not [finding for finding in check_adapter(tmp_path / "head", base) if finding.fatal]
