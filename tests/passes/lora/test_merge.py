from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretune.core.device import TargetInfo
from paretune.core.errors import PassError
from paretune.core.model import Model, ModelKind
from paretune.core.params import NoParams
from paretune.models.handle import inspect, open_model
from paretune.models.safetensors_files import safetensors_header
from paretune.passes.lora.lora import Lora
from paretune.passes.lora.merge import Merge
from tests.pass_bench import Bench
from tests.tiny_models import make_tiny_llama

# peft 0.21 asks for a property that transformers 5.23 renamed.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

TRAIN = {"train": "tone.train", "r": 4, "max_steps": 3, "learning_rate": 1e-2, "batch_size": 4}


def _adapter(bench: Bench, model: Model, **params: Any) -> Model:
    folder = bench.run(Lora(), model, {**TRAIN, **params}, "adapter")
    return replace(open_model(folder), base=model)


def _logits(network: Any) -> Any:
    import torch

    with torch.no_grad():
        return network(torch.tensor([[1, 40, 41, 50, 7, 99]])).logits


@pytest.mark.parametrize(
    "params", [{}, {"use_dora": True}, {"use_rslora": True, "alpha": 16}], ids=str
)
@pytest.mark.parametrize("tied", [True, False])
def test_merged_model_computes_what_the_adapter_did(
    bench: Bench, tmp_path: Path, params: dict[str, Any], tied: bool
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = open_model(make_tiny_llama(tmp_path / "base", tied=tied))
    adapter = _adapter(bench, base, **params)
    plain = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32)
    before = _logits(plain)
    with_adapter = _logits(PeftModel.from_pretrained(plain, adapter.path).eval())
    out = bench.run(Merge(), adapter, {}, "merged")
    merged = _logits(AutoModelForCausalLM.from_pretrained(out))
    assert (with_adapter - before).abs().max() > 1e-2
    assert (merged - with_adapter).abs().max() < 1e-4
    assert ("lm_head.weight" in safetensors_header(out / "model.safetensors")) is not tied
    assert inspect(out).tied is tied


def test_folder_is_complete_and_repeatable(bench: Bench, tiny: Model) -> None:
    adapter = _adapter(bench, tiny)
    one, two = (bench.run(Merge(), adapter, {}, name) for name in ("one", "two"))
    names = sorted(p.name for p in one.iterdir())
    assert names == sorted(p.name for p in tiny.path.iterdir())
    assert {"tokenizer.json", "chat_template.jinja", "generation_config.json"} <= set(names)
    for name in names:
        content = (one / name).read_bytes()
        assert content == (two / name).read_bytes()
        assert str(tiny.path).encode() not in content
        assert str(adapter.path).encode() not in content
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (one / name).read_bytes() == (tiny.path / name).read_bytes()
    assert json.loads((one / "config.json").read_text())["use_cache"] is True


def test_half_precision_base_is_merged_in_full(bench: Bench, tmp_path: Path) -> None:
    base = open_model(make_tiny_llama(tmp_path / "half", dtype="bfloat16"))
    out = bench.run(Merge(), _adapter(bench, base), {}, "merged")
    assert {t["dtype"] for t in safetensors_header(out / "model.safetensors").values()} == {"F32"}


def test_adapter_without_its_base(bench: Bench, tiny: Model) -> None:
    with pytest.raises(PassError, match="the base model of the adapter is not known"):
        bench.run(Merge(), replace(_adapter(bench, tiny), base=None), {}, "merged")


def test_prediction_and_estimate_hold(bench: Bench, tiny: Model) -> None:
    info = inspect(tiny.path)
    adapted = Lora().predict(info, Lora.Params(**TRAIN))
    predicted = Merge().predict(adapted, NoParams())
    real = inspect(bench.run(Merge(), _adapter(bench, tiny), {}, "merged"))
    assert predicted.kind is ModelKind.HF
    assert replace(predicted, bytes=real.bytes) == real
    guess = Merge().estimate(adapted, NoParams(), TargetInfo("local"))
    weights = bench.root / "merged" / "out" / "model.safetensors"
    assert guess.bytes_out == pytest.approx(weights.stat().st_size, rel=0.1)


_TIED = {
    "tied": {"tied": True},
    "untied": {"tied": False},
    "tied by flag only": {"tied": False},
}


@pytest.mark.parametrize(
    "targets",
    [
        ["lm_head"],
        ["embed_tokens"],
        ["lm_head", "embed_tokens", "q_proj"],
        ["q_proj"],
        "saved head",
        "saved embedding",
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", list(_TIED))
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
@pytest.mark.filterwarnings("ignore:Model with `tie_word_embeddings=True`:UserWarning")
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`:UserWarning")
@pytest.mark.filterwarnings("ignore:Input and output embeddings are no longer tied:UserWarning")
def test_an_adapter_of_embedding_or_head_is_merged_into_that_one_alone(
    bench: Bench, tmp_path: Path, kind: str, targets: Any
) -> None:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = make_tiny_llama(tmp_path / "model", **_TIED[kind])
    if kind == "tied by flag only":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    base = open_model(folder)
    saved = {"saved head": ["lm_head"], "saved embedding": ["embed_tokens"]}.get(str(targets))
    network = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder),
        LoraConfig(
            task_type="CAUSAL_LM",
            r=4,
            target_modules=["q_proj"] if saved else targets,
            modules_to_save=saved,
        ),
    )
    torch.manual_seed(0)
    for name, weight in network.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            weight.data += torch.randn_like(weight) * 0.2
    network.save_pretrained(tmp_path / "adapter")
    adapter = Model(ModelKind.HF_ADAPTER, tmp_path / "adapter", "sha256:a", base)
    out = bench.run(Merge(), adapter, {}, "merged")
    ids = torch.tensor([[1, 40, 41, 50, 7, 99]])
    with torch.no_grad():
        adapted = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(folder), tmp_path / "adapter"
        )
        wanted = adapted(ids).logits
        found = AutoModelForCausalLM.from_pretrained(out)(ids).logits
    assert torch.allclose(found, wanted, atol=1e-4)
    assert inspect(out).tied is (kind == "tied" and targets == ["q_proj"])
