"""A precision that this device is slow in is told before it is used, and never by a guess."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paretune.core.device import TargetInfo
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.progress import Progress
from paretune.passes.lora import precision as training_precision
from paretune.passes.lora.lora import Lora, LoraParams
from paretune.passes.lora.precision import precision_note, slowness
from tests.pass_bench import Bench, tone_data

# peft 0.21 asks for a property that transformers 5.23 renamed.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

FAST = {"train": "tone.train", "r": 4, "max_steps": 1, "batch_size": 4}


def _ratios(**ratios: float) -> Callable[[Any, str], float]:
    return lambda dtype, device: ratios.get(dtype, 1.0)


@pytest.mark.parametrize(
    ("ratio", "level"), [(0.4, None), (1.0, None), (2.9, None), (3.1, 3), (34.0, 30), (250.0, 100)]
)
def test_only_what_is_much_slower_is_told(ratio: float, level: int | None) -> None:
    note = precision_note("bf16", measure=_ratios(bf16=ratio))
    if level is None:
        assert note is None
    else:
        assert note is not None
        assert f"bf16 runs more than {level} x slower than fp32" in note


def test_the_first_slow_one_of_several_is_told() -> None:
    measured: list[str] = []

    def measure(dtype: Any, device: str) -> float:
        measured.append(dtype)
        return 5.0 if dtype == "fp16" else 1.0

    note = precision_note("fp32", "fp32", "fp16", measure=measure)
    assert (note or "").startswith("fp16")
    assert measured == ["fp32", "fp16"]


def test_fp32_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_precision, "_seconds", lambda *_: pytest.fail("measured"))
    assert slowness("fp32") == 1.0


def test_it_really_measures() -> None:
    assert 0 < slowness("bf16") < 10_000


def test_it_is_said_before_the_training_and_kept(
    bench: Bench, tiny: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        training_precision, "_seconds", lambda dtype, _: 0.4 if dtype == "bf16" else 0.01
    )
    seen: list[Progress] = []
    out = bench.run(Lora(), tiny, {**FAST, "dtype": "bf16"}, "slow", seen.append)
    assert "bf16 runs more than 30 x slower" in seen[0].note
    assert seen[0].note in capsys.readouterr().out
    assert json.loads((out / "training.json").read_text())["precision_note"] == seen[0].note


def test_nothing_is_said_of_fp32(bench: Bench, tiny: Model) -> None:
    out = bench.run(Lora(), tiny, FAST, "plain")
    assert json.loads((out / "training.json").read_text())["precision_note"] is None


def test_a_training_in_bfloat16_keeps_the_adapter_in_fp32(bench: Bench, tiny: Model) -> None:
    import torch
    from safetensors import safe_open

    out = bench.run(Lora(), tiny, {**FAST, "dtype": "bf16"}, "bf16")
    with safe_open(out / "adapter_model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float32}  # noqa: SIM118


def test_fp16_needs_a_gpu() -> None:
    params, info = LoraParams(train="t", dtype="fp16"), ModelInfo(ModelKind.HF)
    assert "needs a GPU" in (Lora().check(info, params, TargetInfo("local"), "cpu") or "")
    assert Lora().check(info, params, TargetInfo("local", gpus=("H100",)), "cpu") is None


def _loss_in_fp32(model: Model, adapter: Path) -> float:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from paretune.models.adapted import load_adapted

    network = AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32)
    network = load_adapted(network, adapter).eval()
    tokenizer = AutoTokenizer.from_pretrained(model.path)
    losses = []
    for example in tone_data(8).examples:
        ids = torch.tensor([tokenizer(example.prompt + example.answer)["input_ids"]])
        with torch.no_grad():
            losses.append(float(network(ids, labels=ids).loss))
    return sum(losses) / len(losses)


def test_a_training_in_bf16_is_as_good_as_one_in_fp32(bench: Bench, tiny: Model) -> None:
    """Whatever losses it shows: its weights are compared, computed with in fp32."""
    params = {**FAST, "max_steps": 20, "learning_rate": 1e-2, "loss_on": "all", "dropout": 0.1}
    begun = bench.run(Lora(), tiny, {**params, "max_steps": 1, "learning_rate": 1e-12}, "begun")
    fp32 = bench.run(Lora(), tiny, params, "fp32")
    bf16 = bench.run(Lora(), tiny, {**params, "dtype": "bf16"}, "bf16")
    before, one, other = (_loss_in_fp32(tiny, folder) for folder in (begun, fp32, bf16))
    assert one < before - 0.5
    assert abs(other - one) < 0.1 * (before - one)
