"""QLoRA with the real bitsandbytes on the processor: what it trains, and what becomes of it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from paretune.core.device import TargetInfo
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.models.handle import inspect
from paretune.passes.genai.genai import Genai
from paretune.passes.lora.lora import Lora
from paretune.passes.lora.merge import Merge
from paretune.passes.lora.qlora import QLora, QLoraParams
from tests.pass_bench import Bench, generate

pytestmark = [
    # peft 0.21 asks for a property that transformers 5.23 renamed.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
TARGET = TargetInfo("local")
FAST = {"train": "tone.train", "r": 4, "max_steps": 3, "batch_size": 4}


def weights(folder: Path) -> dict[str, Any]:
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize(
    "params",
    [{}, {"double_quant": False}, {"quant_type": "fp4"}, {"quant_type": "int8"}],
    ids=["nf4", "single", "fp4", "int8"],
)
def test_each_way_to_hold_the_base_trains_an_adapter_of_its_own(
    bench: Bench, tiny: Model, params: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        out = bench.run(QLora(), tiny, {**FAST, **params}, "quantized")
    plain = bench.run(Lora(), tiny, FAST, "plain")
    found, full = weights(out), weights(plain)
    assert found.keys() == full.keys()  # a plain adapter of the full-precision model
    assert any((found[name] - full[name]).abs().max() > 0 for name in found)
    record = json.loads((out / "training.json").read_text())
    assert record["steps"] == 3
    assert 0 < record["final_loss"] < 100
    assert not [r for r in caplog.records if r.name.startswith("bitsandbytes")]


def test_the_precision_that_is_asked_for_is_computed_in(bench: Bench, tiny: Model) -> None:
    one, two = (
        bench.run(QLora(), tiny, {**FAST, "compute_dtype": dtype}, dtype)
        for dtype in ("fp32", "bf16")
    )
    first, second = weights(one), weights(two)
    assert any((first[name] - second[name]).abs().max() > 0 for name in first)


def test_gradients_are_those_of_the_weights_that_are_computed_with(tiny: Model) -> None:
    """After a look in eval mode, too, as the loss by chunks takes one (see `_hold_still`)."""
    import torch

    from paretune.data.context import Context
    from paretune.passes.lora.qlora import _load

    context = Context(tiny.path, tiny.path, None)  # type: ignore[arg-type]
    network = _load(tiny, QLoraParams(train="t"), context)
    ids = torch.tensor([[1, 40, 41, 50, 7, 99]])
    network.eval()
    with torch.no_grad():
        network(ids)
    network.train()
    hidden = network.get_input_embeddings()(ids).detach().requires_grad_()
    network(inputs_embeds=hidden, labels=ids).loss.backward()
    step = 1e-3 * torch.randn(hidden.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ahead, behind = (
            network(inputs_embeds=hidden + sign * step, labels=ids).loss for sign in (1, -1)
        )
    assert hidden.grad is not None
    assert float((hidden.grad * step).sum()) == pytest.approx(float(ahead - behind) / 2, rel=0.05)


def test_the_base_is_quantized_and_near_the_full_one(bench: Bench, tiny: Model) -> None:
    """Losses of the first step: without a trained adapter they are the bases' own."""
    first = {}
    for name, pass_, params in (
        ("full", Lora(), {}),
        ("int8", QLora(), {"quant_type": "int8"}),
        ("nf4", QLora(), {}),
    ):
        out = bench.run(pass_, tiny, {**FAST, **params}, name)
        first[name] = json.loads((out / "training.json").read_text())["first_loss"]
    assert first["nf4"] != first["full"]
    assert abs(first["int8"] - first["full"]) < 0.2
    assert abs(first["nf4"] - first["full"]) < 1.0


def test_it_is_merged_into_the_full_weights_and_built_to_int4(bench: Bench, tiny: Model) -> None:
    out = bench.run(QLora(), tiny, FAST, "adapter")
    adapter = Model(ModelKind.HF_ADAPTER, out, "sha256:1", tiny)
    merged = bench.run(Merge(), adapter, {}, "merged")
    facts = inspect(merged)
    assert (facts.kind, facts.precision) == (ModelKind.HF, "fp32")
    assert facts.parameters == inspect(tiny.path).parameters
    model = Model(ModelKind.HF, merged, "sha256:2")
    built = bench.run(Genai(), model, {"precision": "int4"}, "built")
    assert len(generate(built, [1, 40, 41])) == 3


def test_what_has_no_effect_or_cannot_be_is_refused() -> None:
    info = ModelInfo(ModelKind.HF)
    for params, told in (
        ({"quant_type": "int8", "double_quant": True}, "double_quant has no effect"),
        ({"use_dora": True}, "use lora"),
    ):
        why = QLora().check(info, QLoraParams(train="t", **params), TARGET, "cpu")
        assert told in (why or "")
    assert QLora().check(info, QLoraParams(train="t", quant_type="int8"), TARGET, "cpu") is None


def test_without_bitsandbytes_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    why = QLora().check(ModelInfo(ModelKind.HF), QLoraParams(train="t"), TARGET, "cpu")
    assert "pip install bitsandbytes==0.50.2" in (why or "")


def test_the_smaller_base_is_expected_to_take_less(tiny: Model) -> None:
    info = ModelInfo(
        ModelKind.HF,
        parameters=10**9,
        hidden_size=2048,
        layers=24,
        vocab_size=50_000,
        precision="bf16",  # of an fp32 file all stays mapped
    )
    four, eight, full = (
        pass_.estimate(info, pass_.Params(train="t", **params), TARGET).peak_memory
        for pass_, params in ((QLora(), {}), (QLora(), {"quant_type": "int8"}), (Lora(), {}))
    )
    assert four is not None
    assert eight is not None
    assert full is not None
    assert four < eight < full
