from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretune.errors import PassError
from paretune.models import Model, ModelKind, inspect, open_model, safetensors_header
from paretune.passes.base import NoParams
from paretune.passes.lora import Lora
from paretune.passes.merge import Merge
from paretune.targets.base import TargetInfo
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
    with pytest.raises(PassError, match="without the model"):
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
