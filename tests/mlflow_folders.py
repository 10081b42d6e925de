"""MLflow folders of a model, as MLflow itself and Azure's tools lay them out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

OWN = {
    "code": None,
    "components": ["tokenizer"],
    "framework": "pt",
    "instance_type": "TextGenerationPipeline",
    "model_binary": "model",
    "pipeline_model_type": "LlamaForCausalLM",
    "source_model_name": "some-org/some-model",
    "task": "text-generation",
    "tokenizer_type": "PreTrainedTokenizerFast",
    "torch_dtype": "torch.float32",
    "transformers_version": "4.49.0",
}
AZURE = {
    "code": None,
    "config_hf_load_kwargs": {"trust_remote_code": True},
    "hf_config_class": "AutoConfig",
    "hf_pretrained_class": "AutoModelForCausalLM",
    "hf_tokenizer_class": "AutoTokenizer",
    "huggingface_id": "some-org/some-model",
    "model_data": "data",
    "task_type": "chat-completion",
}
PYFUNC = {
    "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
    "loader_module": "mlflow.transformers",
    "python_version": "3.10.14",
}
WEIGHTS = ("config.json", "generation_config.json")


def write_mlmodel(folder: Path, **flavors: Any) -> Path:
    """Write the file that makes a folder one of MLflow's; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {
        "artifact_path": "model",
        "flavors": {"python_function": PYFUNC, **flavors},
        "mlflow_version": "2.20.3",
        "model_uuid": "0cf510c002824837a1a4320dc9ed82e6",
        "run_id": "81daa482a59b4aa08c9fcae82f37a1c4",
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(said))
    return folder


def own_form(model: Path, folder: Path, **changes: Any) -> Path:
    """Write a model as `mlflow.transformers.save_model` does; returns the folder."""
    _split(model, folder, "model", "components/tokenizer")
    return write_mlmodel(folder, transformers={**OWN, **changes})


def azures_form(model: Path, folder: Path, **changes: Any) -> Path:
    """Write a model as Azure's registry has it; returns the folder."""
    _split(model, folder, "data/model", "data/tokenizer")
    (folder / "data" / "config").mkdir()
    shutil.move(folder / "data" / "model" / "config.json", folder / "data" / "config")
    return write_mlmodel(folder, hftransformersv2={**AZURE, **changes})


def with_adapter(base: Path, adapter: Path, folder: Path, **changes: Any) -> Path:
    """Write a base and its adapter as MLflow does; returns the folder."""
    own_form(base, folder, peft_adaptor="peft", **changes)
    shutil.copytree(adapter, folder / "peft")
    return folder


def _split(model: Path, folder: Path, weights: str, tokenizer: str) -> None:
    for part in (weights, tokenizer):
        (folder / part).mkdir(parents=True)
    for file in sorted(model.iterdir()):
        is_weights = file.name in WEIGHTS or ".safetensors" in file.name
        shutil.copyfile(file, folder / (weights if is_weights else tokenizer) / file.name)
