"""The divergence from the model before rounding: its value, its gradient, and its teacher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import kl_div, linear, log_softmax
from transformers import AutoModelForCausalLM

from paretune.core.model import Model
from paretune.passes.lora.chunked_loss import find_chunked_loss
from paretune.passes.lora.distillation import _Divergence, distilled_loss
from paretune.passes.lora.lora import Lora, LoraParams
from paretune.passes.lora.rounding import round_weights
from paretune.passes.lora.rows import IGNORED
from paretune.passes.quantization.rounding_grid import RoundingGrid
from tests.pass_bench import Bench, FakeCatalog, tone_data

BATCH = {
    "input_ids": torch.tensor([[1, 9, 14, 27, 33, 8]]),
    "attention_mask": torch.ones(1, 6, dtype=torch.long),
    "shift_labels": torch.tensor([[IGNORED, 27, 33, 8]]),
    "labels": torch.tensor([[IGNORED, 27, 33, 8]]),
    "logits_to_keep": torch.tensor([1, 2, 3, 4]),
    "use_cache": False,
}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, FakeCatalog({"tone.train": tone_data(22), "tone.test": tone_data(10)}))


def _networks(tiny: Model) -> tuple[Any, Any]:
    """Return a network, and the same with an adapter that is not nothing."""
    plain = AutoModelForCausalLM.from_pretrained(tiny.path).eval()
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny.path),
        LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear"),
    ).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.05)
    return plain, adapted


@pytest.mark.parametrize("apart", [False, True])
def test_the_teacher_is_the_model_that_was_given(tiny: Model, apart: bool) -> None:
    plain, adapted = _networks(tiny)
    rounding = round_weights(adapted, RoundingGrid(bits=4, adapter_apart=apart))
    with torch.no_grad():
        given = plain(input_ids=BATCH["input_ids"]).logits
        before = adapted(input_ids=BATCH["input_ids"]).logits
        with rounding.off():
            teacher = adapted(input_ids=BATCH["input_ids"]).logits
        after = adapted(input_ids=BATCH["input_ids"]).logits
    assert torch.equal(teacher, given)
    assert torch.equal(before, after)
    assert not torch.allclose(before, given, atol=1e-2)


def test_the_loss_is_the_mean_divergence_of_the_tokens_to_learn(tiny: Model) -> None:
    plain, adapted = _networks(tiny)
    rounding = round_weights(adapted, RoundingGrid(bits=4))
    loss = distilled_loss(find_chunked_loss(adapted, BATCH), rounding)
    with torch.no_grad():
        teacher = plain(input_ids=BATCH["input_ids"]).logits[0, 2:5]
        student = adapted(input_ids=BATCH["input_ids"]).logits[0, 2:5]
        expected = kl_div(
            log_softmax(student, 1), log_softmax(teacher, 1), log_target=True, reduction="sum"
        )
    found = loss(BATCH)
    assert found.requires_grad
    torch.testing.assert_close(found.detach(), expected / 3)


def test_its_gradient_is_autograds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paretune.passes.lora.distillation._CHUNK", 40)  # two positions at a time
    torch.manual_seed(0)
    hidden, teacher = torch.randn(5, 8), torch.randn(5, 8)
    weight, whole, bias = torch.randn(20, 8), torch.randn(20, 8), torch.randn(20)
    one, other = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    _Divergence.apply(one, weight, bias, teacher, whole).backward()
    kl_div(
        log_softmax(linear(other, weight, bias), 1),
        log_softmax(linear(teacher, whole, bias), 1),
        log_target=True,
        reduction="sum",
    ).backward()
    torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("apart", [False, True])
def test_a_training_brings_the_rounded_model_nearer(bench: Bench, tiny: Model, apart: bool) -> None:
    params = {
        **{"train": "tone.train", "r": 8, "batch_size": 22, "learning_rate": 1e-2},
        **{"max_steps": 12, "loss_on": "all", "lr_scheduler_type": "constant"},
        **{"quantize_for": {"bits": 4, "adapter_apart": apart}, "distill": True},
    }
    out = bench.run(Lora(), tiny, params, "distilled")
    record = json.loads((out / "training.json").read_text())
    assert record["losses"][-1]["loss"] < 0.8 * record["losses"][0]["loss"]


def test_without_rounding_there_is_nothing_to_recover() -> None:
    with pytest.raises(ValueError, match="distill needs quantize_for"):
        LoraParams(train="tone.train", distill=True)
