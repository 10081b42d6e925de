"""The public configurations that import whole, run on tiny models of their architectures.

Only where model, data and device are is changed, and how long a training takes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paretune.api import optimize
from paretune.core.errors import ParetuneError
from tests.config.olive.olive_files import PUBLIC
from tests.tiny_encoders import make_tiny_encoder
from tests.tiny_models import make_small, make_tiny_llama, make_tiny_phi3

FILES = {file.stem: file for file in PUBLIC}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PUBLIC, reason="the public configurations are not in ../shared"),
]
_CPU = {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}
_PAIRS = [
    "sentence1,sentence2,label",
    *(f"w{i % 40 + 2} w3,w{i % 7 + 2} w{i % 11 + 5},{i % 2}" for i in range(24)),
]
_TEXTS = [
    json.dumps({"text": f"a phrase of number {i}", "phrase": f"p {i}", "tone": "joy"})
    for i in range(4300)  # one of them takes rows up to 4224
]


def _here(stem: str, model: Path, folder: Path) -> Path:
    """Write a public configuration with its model, its data and its device on this machine."""
    value = json.loads(FILES[stem].read_text(encoding="utf-8"))
    encoder = "bert" in stem
    data = folder / ("pairs.csv" if encoder else "texts.json")
    data.write_text("\n".join(_PAIRS if encoder else _TEXTS) + "\n", encoding="utf-8")
    hf = value["input_model"].get("config", {}).get("hf_config", {})
    if hf:
        hf["model_name"] = str(model)
        hf.get("dataset", {}).update(data_name="csv", data_files={"validation": str(data)})
        hf.get("dataset", {}).pop("subset", None)
    else:
        value["input_model"]["model_path"] = str(model)
    for config in value.get("data_configs", []):
        load = config.get("load_dataset_config") or config["params_config"]
        load.pop("subset", None)
        part = load["split"].partition("[")[0]
        load.update(data_name=data.suffix[1:], data_files={part: str(data)})
    for system in value.get("systems", {}).values():
        (system.get("config") or system)["accelerators"] = [_CPU]
    for config in value["passes"].values():
        if config.get("metadata_only"):
            config["precision"] = "fp32"  # fp16 runs on no processor
        if "training_args" in config:
            config["training_args"].update(max_steps=1, per_device_train_batch_size=1)
            config["torch_dtype"] = "float32"
    for key in ("output_dir", "cache_dir"):
        value.pop(key, None)
    file = folder / "olive.json"
    file.write_text(json.dumps(value), encoding="utf-8")
    return file


def _run(stem: str, model: Path, folder: Path) -> list[dict[str, Any]]:
    file = _here(stem, model, folder)
    found = optimize(file, study=folder / "study", store=folder / "store")
    assert found.best is not None
    assert (found.best / "sample.py").is_file()
    return list(found.results["candidates"])


@pytest.mark.parametrize(
    "stem",
    [
        "olive-v0.5.0__bert__bert_ptq_cpu",
        "olive-v0.9.1__bert__bert_ptq_cpu",
        "olive-recipes__intel-bert-base-uncased-mrpc__oci__cpu__ptq",
    ],
)
def test_an_encoder_is_exported_quantized_and_measured(stem: str, tmp_path: Path) -> None:
    rows = _run(stem, make_tiny_encoder(tmp_path / "bert", "bert"), tmp_path)
    built = [row for row in rows if row["outcome"] == "ok" and row["recipe"]]
    assert {"onnx_export", "onnx_static_int8"} & {s["pass"] for r in built for s in r["recipe"]}


@pytest.mark.parametrize(
    "stem",
    [
        "olive-recipes__meta-llama-Llama-3.2-1B-Instruct__olive__rtn",
        "olive-recipes__meta-llama-Llama-3.2-1B-Instruct__olive__qlora",
        "olive-v0.9.1__llama2__llama2_qlora",
    ],
)
def test_a_llama_is_trained_and_built(stem: str, tmp_path: Path) -> None:
    rows = _run(stem, make_tiny_llama(tmp_path / "llama", positions=2048), tmp_path)
    assert "genai" in {s["pass"] for r in rows if r["outcome"] == "ok" for s in r["recipe"]}


def test_the_cookbooks_phi3_is_trained_and_built(tmp_path: Path) -> None:
    stem = "phi3cookbook__olive-ort-example__phrase-classification"
    rows = _run(stem, make_tiny_phi3(tmp_path / "phi3"), tmp_path)
    assert [row["outcome"] for row in rows].count("ok") == len(rows)


def test_phi_of_the_first_kind_is_refused_because_the_builder_builds_another_model(
    tmp_path: Path,
) -> None:
    phi = make_small(
        tmp_path,
        "Phi",
        hidden_size=160,
        num_attention_heads=2,
        num_key_value_heads=2,
        partial_rotary_factor=0.4,
        max_position_embeddings=2048,
    )
    with pytest.raises(ParetuneError, match="does not build PhiForCausalLM correctly"):
        _run("olive-v0.9.1__phi2__phi2_genai", phi, tmp_path)
