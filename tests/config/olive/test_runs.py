"""Public configurations, run: only where the model and the data lie is changed, and how long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import paretune
from tests.config.olive.olive_files import PUBLIC
from tests.tiny_encoders import make_tiny_encoder
from tests.tiny_models import make_tiny_llama

FILES = {file.stem: file for file in PUBLIC}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PUBLIC, reason="the public configurations are not in ../shared"),
]
CPU = {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}


def here(value: Any, model: Path, data: Path) -> Any:
    """Return a public configuration with its model, its data and its device on this machine."""
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
        (system.get("config") or system)["accelerators"] = [CPU]
    for config in value["passes"].values():
        if config.get("metadata_only"):
            config["precision"] = "fp32"  # fp16 runs on no processor
        if "training_args" in config:
            config["training_args"].update(max_steps=1, per_device_train_batch_size=1)
            config["torch_dtype"] = "float32"
    value.pop("output_dir", None)
    value.pop("cache_dir", None)
    return value


def run(stem: str, model: Path, data: Path, folder: Path) -> list[dict[str, Any]]:
    file = folder / "olive.json"
    file.write_text(json.dumps(here(json.loads(FILES[stem].read_text()), model, data)))
    found = paretune.optimize(file, study=folder / "study", store=folder / "store")
    assert found.best is not None
    return list(found.results["candidates"])


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    rows = [f"w{i % 40 + 2} w3,w{i % 7 + 2} w{i % 11 + 5},{i % 2}" for i in range(24)]
    file.write_text("\n".join(["sentence1,sentence2,label", *rows]))
    return file


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write as many rows as `train[4096:4224]` needs."""
    file = tmp_path_factory.mktemp("texts") / "texts.json"
    file.write_text("\n".join(json.dumps({"text": f"text {i}"}) for i in range(4300)))
    return file


@pytest.mark.parametrize(
    "stem",
    [
        pytest.param("olive-v0.5.0__bert__bert_ptq_cpu", marks=pytest.mark.long),
        pytest.param("olive-v0.9.1__bert__bert_ptq_cpu", marks=pytest.mark.long),
        "olive-recipes__intel-bert-base-uncased-mrpc__oci__cpu__ptq",
    ],
)
def test_an_encoder(stem: str, pairs: Path, tmp_path: Path) -> None:
    rows = run(stem, make_tiny_encoder(tmp_path / "bert", "bert"), pairs, tmp_path)
    recipes = {tuple(step["pass"] for step in row["recipe"]) for row in rows}
    assert recipes == {(), ("onnx_export", "onnx_optimize", "onnx_static_int8")}
    assert {row["outcome"] for row in rows} <= {"ok", "pruned"}


@pytest.mark.parametrize(
    ("stem", "passes"),
    [
        ("olive-v0.9.1__llama2__llama2_qlora", ["qlora", "genai_adapter"]),
        (
            "olive-recipes__meta-llama-Llama-3.2-1B-Instruct__olive__qlora",
            ["qlora", "merge", "genai"],
        ),
        ("olive-recipes__meta-llama-Llama-3.2-1B-Instruct__olive__rtn", ["genai"]),
    ],
)
def test_a_language_model(stem: str, passes: list[str], texts: Path, tmp_path: Path) -> None:
    model = make_tiny_llama(tmp_path / "llama", positions=2048)
    (row,) = run(stem, model, texts, tmp_path)
    assert row["outcome"] == "ok"
    assert [step["pass"] for step in row["recipe"]] == passes
