"""One base, several adapters: what each computes, what they share, and how they are switched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paretune.core.candidate import RuntimeSettings
from paretune.core.device import TargetInfo
from paretune.core.errors import PassError, UsageError
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.models.handle import open_model
from paretune.passes.genai.adapter import GenaiAdapter
from paretune.passes.genai.options import GenaiParams
from paretune.runtimes.genai import GenaiSession
from paretune.runtimes.genai_adapters import FILE, add_adapter, read_adapters
from tests.pass_bench import Bench

TOKENS = [1, 40, 41, 50, 7, 99]


def make_adapter(base: Model, folder: Path, seed: int, rank: int = 4) -> Model:
    """Write a PEFT adapter whose matrices are random, so that it changes what the base computes."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(base.path)
    config = LoraConfig(
        task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear"
    )
    adapted = get_peft_model(network, config)
    torch.manual_seed(seed)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.data.normal_(std=0.2)
    adapted.save_pretrained(folder)
    return Model(ModelKind.HF_ADAPTER, folder, f"sha256:{seed}", base)


def reference(adapter: Model) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    assert adapter.base is not None
    network = AutoModelForCausalLM.from_pretrained(adapter.base.path)
    with torch.no_grad():
        adapted = PeftModel.from_pretrained(network, adapter.path)
        return adapted(torch.tensor([TOKENS])).logits[0].numpy()


def computed(folder: Path, name: str | None) -> Any:
    session = GenaiSession(folder, RuntimeSettings())
    session.adapters.use(name)
    return session.sequence_logits(TOKENS)


def test_the_adapter_computes_what_it_does_in_pytorch_and_the_base_what_it_did(
    bench: Bench, tiny: Model, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    adapter = make_adapter(tiny, tmp_path / "adapter", seed=1)
    out = bench.run(GenaiAdapter(), adapter, {}, "fp32")
    assert computed(out, "tuned") == pytest.approx(reference(adapter), abs=1e-3)
    with torch.no_grad():
        base = AutoModelForCausalLM.from_pretrained(tiny.path)(torch.tensor([TOKENS])).logits[0]
    assert computed(out, None) == pytest.approx(base.numpy(), abs=1e-3)


@pytest.mark.parametrize("params", [{"precision": "int8"}, {"precision": "int4"}])
def test_a_quantized_base_leaves_the_adapter_in_full_precision(
    bench: Bench, tiny: Model, tmp_path: Path, params: dict[str, Any]
) -> None:
    import numpy as np

    adapter = make_adapter(tiny, tmp_path / "adapter", seed=1)
    out = bench.run(GenaiAdapter(), adapter, params, "quantized")
    wanted, found = reference(adapter), computed(out, "tuned")
    assert np.corrcoef(wanted.ravel(), found.ravel())[0, 1] > 0.9
    assert not np.allclose(found, computed(out, None), atol=0.05)


def test_several_adapters_share_one_base_and_are_switched_while_it_is_loaded(
    bench: Bench, tiny: Model, tmp_path: Path
) -> None:
    """Of different ranks even: the rank is not part of the base's graph."""
    adapters = [make_adapter(tiny, tmp_path / str(n), seed=n, rank=2 * n) for n in (1, 2)]
    one, two = (bench.run(GenaiAdapter(), a, {}, f"out{n}") for n, a in enumerate(adapters))
    for name in ("model.onnx", "model.onnx.data", "genai_config.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    add_adapter(one, "other", two / "adapters" / "tuned.onnx_adapter", activate=False)
    session = GenaiSession(one, RuntimeSettings())
    assert session.adapters.names == ("tuned", "other")
    assert session.adapters.active == "tuned"
    for name, adapter in (("tuned", adapters[0]), ("other", adapters[1]), ("tuned", adapters[0])):
        session.adapters.use(name)
        assert session.sequence_logits(TOKENS) == pytest.approx(reference(adapter), abs=1e-3)
    with pytest.raises(UsageError, match="no adapter 'third'"):
        session.adapters.use("third")


def test_the_folder_is_complete_and_of_no_machine(
    bench: Bench, tiny: Model, tmp_path: Path
) -> None:
    out = bench.run(GenaiAdapter(), make_adapter(tiny, tmp_path / "a", seed=1), {}, "out")
    assert json.loads((out / FILE).read_text()) == {
        "active": "tuned",
        "adapters": {"tuned": "adapters/tuned.onnx_adapter"},
    }
    assert open_model(out).kind is ModelKind.GENAI
    for file in (p for p in out.rglob("*") if p.is_file()):
        assert str(tmp_path).encode() not in file.read_bytes(), file.name


def test_what_cannot_be_kept_apart_is_refused_before_it_is_built() -> None:
    info = ModelInfo(ModelKind.HF_ADAPTER, "llama", head_dim=64, built_with={"use_dora": True})
    why = GenaiAdapter().check(info, GenaiParams(), TargetInfo("t"), "cpu")
    assert why is not None
    assert "DoRA" in why
    plain = ModelInfo(ModelKind.HF_ADAPTER, "llama", head_dim=64)
    assert GenaiAdapter().check(plain, GenaiParams(), TargetInfo("t"), "cpu") is None
    assert "fuse_qkv" in str(
        GenaiAdapter().check(plain, GenaiParams(fuse_qkv=True), TargetInfo("t"), "cpu")
    )
    why = GenaiAdapter().check(plain, GenaiParams(precision="fp16"), TargetInfo("t"), "cpu")
    assert why is not None


def test_an_adapter_without_its_base(bench: Bench, tmp_path: Path) -> None:
    alone = Model(ModelKind.HF_ADAPTER, tmp_path, "sha256:1")
    with pytest.raises(PassError, match="without its base"):
        bench.run(GenaiAdapter(), alone, {}, "out")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[]", "not a list of adapters"),
        ('{"active": "a", "adapters": {"a": "../outside"}}', "is not a file in the model's folder"),
        (
            '{"active": "a", "adapters": {"a": "/etc/passwd"}}',
            "is not a file in the model's folder",
        ),
        ('{"active": "a", "adapters": {"a": "absent"}}', "is not a file in the model's folder"),
        ('{"active": "b", "adapters": {}}', "'b' is not listed"),
    ],
)
def test_a_list_of_adapters_from_elsewhere(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "outside").write_text("x")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / FILE).write_text(content)
    with pytest.raises(UsageError, match=told):
        read_adapters(folder)
