"""A model that cannot be built right is refused for `genai` by dry run and search alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from paretune.config import load
from paretune.preflight.dry_run import foresee
from paretune.preflight.prepared import PreparedSearch
from paretune.store.artifacts import Store
from tests.tiny_models import make_tiny_llama


def configured(folder: Path, change: dict[str, Any], **more: Any) -> Path:
    make_tiny_llama(folder / "m")
    file = folder / "m" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    (folder / "w.txt").write_text("the quick brown fox\n" * 40)
    config = {
        "model": "m",
        "data": {"w": {"file": "w.txt", "text": "{text}"}},
        "passes": [{"genai": {"precision": "fp32"}, "optional": True}],
        "baseline": [],
        "evaluate": [{"perplexity": {"data": "w", "window": 32}}],
        "objectives": {"minimize": "perplexity"},
        **more,
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    return folder / "c.yaml"


LINEAR = {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "linear", "factor": 4.0}}


def test_the_pass_is_refused_with_key_and_value_and_the_rest_runs(tmp_path: Path) -> None:
    file = configured(tmp_path, LINEAR)
    store = tmp_path / "store"
    found = foresee(file, store=store)
    (reason,) = found["reasons"]
    assert "(genai): the model builder" in reason
    assert "rope_parameters" in reason
    assert "'linear'" in reason
    assert found["skipped"] == 1
    kept = list((store / "twins").iterdir())
    assert len(kept) == 1
    kept[0].write_text(json.dumps(json.loads(kept[0].read_text()) | {"why": "KEPT"}))
    prepared = PreparedSearch(
        load(file), Store(store)
    )  # as the search makes it: from what was kept
    try:
        reasons = [prepared.look(candidate).reason for candidate in prepared.plan.space]
        assert sum(reason is not None for reason in reasons) == 1
        assert any("KEPT" in str(reason) for reason in reasons)
        assert prepared.look(prepared.baseline).reason is None
    finally:
        prepared.target.close()


@pytest.mark.parametrize(("window", "refused"), [(8, True), (64, False)])
def test_a_window_counts_where_something_is_longer(
    tmp_path: Path, window: int, refused: bool
) -> None:
    change = {"model_type": "mistral", "architectures": ["MistralForCausalLM"]}
    file = configured(tmp_path, change | {"sliding_window": window})
    found = foresee(file, store=tmp_path / "store")
    assert found["skipped"] == int(refused)
    assert any("sliding_window (64)" in note for note in found["notes"]) != refused


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"quant_method": "gptq", "bits": 4}, "quantization_config.quant_method is 'gptq', 4 bits"),
        ({"quant_method": "AWQ"}, "'awq'"),
        ({"quant_method": "fp8"}, "'fp8'"),
        ({"quant_method": "compressed-tensors"}, "'compressed-tensors'"),
        ({"quant_method": "gguf"}, "'gguf'"),
        ({"quant_algo": "NVFP4"}, "'nvfp4'"),
        ({"something": 1}, "'unknown'"),
    ],
)
def test_a_checkpoint_in_a_form_that_nothing_reads_is_refused(
    tmp_path: Path, settings: dict[str, Any], told: str
) -> None:
    from paretune.core.errors import UsageError

    file = configured(tmp_path, {"quantization_config": settings})
    with pytest.raises(UsageError, match="expected fp32, fp16 or bf16") as refused:
        load(file)
    assert told in str(refused.value)


def test_no_pass_takes_what_bitsandbytes_wrote(tmp_path: Path) -> None:
    file = configured(tmp_path, {"quantization_config": {"load_in_4bit": True}})
    (reason,) = foresee(file, store=tmp_path / "store")["reasons"]
    assert "quantized already (config.json: quantization_config, bitsandbytes)" in reason


def test_an_architecture_that_the_builder_does_not_know_is_told_without_its_folder(
    tmp_path: Path,
) -> None:
    file = configured(tmp_path, {"architectures": ["OtherForCausalLM"]})
    found = foresee(file, store=tmp_path / "store")
    (reason,) = found["reasons"]
    assert "does not build OtherForCausalLM (config.json: architectures" in reason
    assert "it builds" in reason
    assert "/tmp" not in reason
    assert found["skipped"] == 1


@pytest.mark.parametrize("builds", [True, False])
def test_a_configuration_that_no_library_takes_ends_before_anything_runs(
    tmp_path: Path, builds: bool
) -> None:
    from paretune.api import optimize
    from paretune.core.errors import UsageError

    passes = [{"genai": {"precision": "fp32"}, "optional": True}] if builds else []
    file = configured(tmp_path, {"hidden_act": "nonsense"}, passes=passes)
    told = []
    for run in (
        lambda: foresee(file, store=tmp_path / "store"),
        lambda: optimize(file, study=tmp_path / "study", store=tmp_path / "store"),
    ):
        with pytest.raises(UsageError, match="hidden_act is 'nonsense'") as refused:
            run()
        told.append(str(refused.value))
    assert told[0] == told[1]
    assert not list((tmp_path / "study").glob("candidates/*"))
