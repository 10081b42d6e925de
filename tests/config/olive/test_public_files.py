"""The public configurations: some import whole, the others say what is not supported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paretune.config import load
from paretune.core.candidate import RuntimeSettings
from paretune.registry import find_pass
from paretune.search.space import PassSlot
from tests.config.olive.olive_files import PUBLIC, SEEDS, refused, whole
from tests.config.olive.vocabulary import CORPUS, DATA, PASSES, unknown_names
from tests.tiny_models import make_tiny_phi3

pytestmark = pytest.mark.skipif(
    not PUBLIC or len(SEEDS) < 2,
    reason="the public configurations are not in ../shared (test_own_files.py has our own)",
)
FILES = {file.stem: file for file in (*PUBLIC, *SEEDS)}
PHRASES = "phi3cookbook__olive-ort-example__phrase-classification"
PHI2 = "olive-v0.9.1__phi2__phi2_genai"

DATASTORE = "data_configs[0].load_dataset_config.params.data_files.config"

# What is unsupported of each; the reasons are in the messages, and in docs/from-olive.md.
UNSUPPORTED: dict[str, list[str]] = {
    PHRASES: [],
    PHI2: [],
    "olive-config.local": [],
    # Its placeholders, and the workspace, which only its data names.
    "olive-config.azureml": [
        "input_model.config.model_path.config.name",
        f"{DATASTORE}.azureml_client.subscription_id",
        f"{DATASTORE}.azureml_client.resource_group",
        f"{DATASTORE}.azureml_client.workspace_name",
        f"{DATASTORE}.relative_path",
        "systems.aml.config.aml_compute",
        "systems.aml.config.aml_docker_config.base_image",
        "systems.aml.config.azureml_client_config",
    ],
    "olive-recipes__Qwen-Qwen3-0.6B__cpu__Qwen-Qwen3-0.6B_cpu_int4": [
        "passes.s.type",
        "passes.g.type",
        "passes.r.type",
        "passes.t.type",
    ],
    "olive-recipes__intel-bert-base-uncased-mrpc__oci__cpu__ptq": [],
    "olive-recipes__meta-llama-Llama-3.2-1B-Instruct__olive__qlora": [],
    "olive-recipes__meta-llama-Llama-3.2-1B-Instruct__olive__rtn": [],
    "olive-v0.5.0__bert__bert_ptq_cpu": [],
    "olive-v0.5.0__llama2__llama2_qlora": [
        "input_model.config.model_script",
        "input_model.config.io_config",
        "input_model.config.dummy_inputs_func",
        "data_configs.tiny_codes_train.user_script",
        "data_configs.tiny_codes_train.components.load_dataset.type",
        "data_configs.tiny_codes_train.params_config.component_kwargs.load_dataset.language",
        "evaluators.merged_evaluator.metrics[0].user_config.user_script",
        "evaluators.merged_evaluator.metrics[0].user_config.dataloader_func",
        "evaluators.merged_evaluator.metrics[0].user_config.func_kwargs",
        "evaluators.merged_evaluator.metrics[0].user_config.batch_size",
        "passes.conversion.type",
        "passes.transformers_optimization.config.optimization_options",
        "passes.bnb_quantization.type",
    ],
    "olive-v0.7.0__bert__bert_ptq_cpu": [],
    "olive-v0.9.1__bert__bert_ptq_cpu": [],
    "olive-v0.9.1__llama2__llama2_lmeval_onnx": [
        "evaluators.evaluator.type",
    ],
    "olive-v0.9.1__llama2__llama2_qlora": [],
    "olive-v0.9.1__opt_125m__gptq_onnx": [
        "passes.gptq_quant_int4.type",
    ],
    "olive-v0.9.1__phi3__phi3_template": [
        "data_configs[0].load_dataset_config.split",
        "data_configs[0].load_dataset_config.col_filters",
        "data_configs[1].load_dataset_config.split",
        "data_configs[1].load_dataset_config.col_filters",
        "passes.qlora.type",
        "passes.awq.type",
        "passes.builder.precision",
        "passes.fp32_logits.type",
        "passes.tune_session_params.type",
    ],
    "olive-v0.9.1__resnet__resnet_multiple_ep": [
        "systems.python_system.type",
        "data_configs[0].user_script",
        "data_configs[0].pre_process_data_config.type",
        "data_configs[0].post_process_data_config.type",
        "passes.onnx_quantization.type",
    ],
    "olive-v0.9.1__resnet__resnet_ptq_cpu": [
        "data_configs[0].user_script",
        "data_configs[0].load_dataset_config.split",
        "data_configs[0].pre_process_data_config.type",
        "data_configs[0].post_process_data_config.type",
    ],
}


def read(stem: str) -> Any:
    return json.loads(FILES[stem].read_text())


def test_each_file_has_its_row() -> None:
    assert UNSUPPORTED.keys() == FILES.keys()


@pytest.mark.parametrize("stem", UNSUPPORTED)
def test_what_is_unsupported_is_named_and_nothing_else(stem: str) -> None:
    assert sorted(refused(read(stem))) == sorted(UNSUPPORTED[stem])


def test_the_tutorials_configuration_is_translated_key_by_key() -> None:
    assert whole(read("olive-config.local")) == {
        "model": "model-cache/microsoft/phi-3-mini",
        "data": {
            "dataset_default_train": {
                "file": "dataset/dataset-classification.json",
                "format": "json",
                "text": "### Text: {phrase}\n### The tone is:\n{tone}",
                "corpus": {"strategy": "join", "max_length": 2048, "joiner": ""},
            }
        },
        "passes": (
            recipe := [
                {
                    "lora": {
                        "train": "dataset_default_train",
                        "target_modules": ["o_proj", "qkv_proj"],
                        "r": 64,
                        "alpha": 64,
                        "dropout": 0.1,
                        "dtype": "fp32",
                        "lr_scheduler_type": "constant",
                        "learning_rate": 0.0001,
                        "max_steps": 10,
                        "seed": 0,
                        "data_seed": 42,
                        "batch_size": 1,
                        "gradient_accumulation_steps": 4,
                        "gradient_checkpointing": False,
                        "logging_steps": 10,
                        "batching": "length_grouped",
                        "adam_beta2": 0.999,
                        "max_grad_norm": 0.3,
                        "eval_dataset_size": 0.3,
                        "eval_steps": 187,
                        "eval_batch_size": 1,
                    }
                },
                "merge",
                {"genai": {"precision": "int4"}},
            ]
        ),
        "baseline": recipe,
        "evaluate": ["generation", "footprint"],
        "objectives": [{"minimize": "decode_ms_p50"}],
        "target": {"providers": ["cpu"]},
    }


@pytest.fixture(scope="module")
def phi3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_phi3(tmp_path_factory.mktemp("phi3") / "model")


def placed(stem: str, folder: Path, model: Path, data: Path) -> Path:
    """Write a public file with nothing changed but where the model and its data lie."""
    value = read(stem)
    hf = value["input_model"].get("config", {}).get("hf_config")
    (value["input_model"] if hf is None else hf)["model_path" if hf is None else "model_name"] = (
        str(model)
    )
    for config in value.get("data_configs", []):
        where = config.get("params_config") or config["load_dataset_config"]["params"]
        where["data_files"] = str(data / "phrase-tone" / "dataset-classification.json")
    file = folder / "olive.json"
    file.write_text(json.dumps(value))
    return file


@pytest.mark.parametrize(
    ("stem", "passes", "providers"),
    [
        ("olive-config.local", ["lora", "merge", "genai"], ("cpu",)),
        (PHRASES, ["lora", "merge", "genai"], ("cuda",)),
        (PHI2, ["genai"], ("cpu", "cuda")),
    ],
)
def test_what_imports_whole_loads_with_only_its_paths_changed(
    tmp_path: Path,
    phi3: Path,
    public_data: Path,
    stem: str,
    passes: list[str],
    providers: tuple[str, ...],
) -> None:
    plan = load(placed(stem, tmp_path, phi3, public_data))
    slots = [stage for stage in plan.space.stages if isinstance(stage, PassSlot)]
    assert [slot.name for slot in slots] == passes
    assert plan.providers == providers
    # One recipe, and measured once: it is its own baseline.
    assert plan.space.size == len(providers)
    threads = RuntimeSettings(providers[0], max(plan.threads))
    assert plan.space.at(0).recipe == plan.baseline
    assert plan.space.at(0).runtime == threads


@pytest.mark.slow
def test_the_tutorials_configuration_runs(
    tmp_path: Path, phi3: Path, public_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from paretune.api import optimize

    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    found = optimize(placed("olive-config.local", folder, phi3, public_data), single=True)
    models = folder / "../model-cache/models/phi3-finetuned"
    assert found.study == models
    assert found.best == models / "best"
    assert (models / "cache" / "objects").is_dir()
    (only,) = found.results["candidates"]
    assert (only["outcome"], only["id"]) == ("ok", found.results["baseline"]["id"])


@pytest.mark.parametrize("name", PASSES)
def test_the_table_of_names_holds_what_passes_take(name: str) -> None:
    assert PASSES[name] <= set(find_pass(name).Params.model_fields)


def test_the_table_of_names_holds_what_data_sets_take() -> None:
    from paretune.data.catalog import DataSpec
    from paretune.data.corpus import CorpusSpec

    assert set(DataSpec.model_fields) >= DATA
    assert set(CorpusSpec.model_fields) >= CORPUS
    assert unknown_names({"model": "m", "passes": [{"lora": {"rank": 1}}, "prune"]}) == [
        "rank",
        "prune",
    ]
