"""Writes a model as an MLflow folder, in the flavors transformers and python_function.

MLflow itself is not needed. The parts together are the model's files, unchanged: what reads the
folder (`paretune.models.mlflow_layout`, ``mlflow.transformers.load_model``) has the same model.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

import yaml

from paretune.core.errors import StateError, UsageError
from paretune.core.jsontools import Json, read_model_json, write_atomic
from paretune.core.model import Model, ModelKind
from paretune.models.files import names_code
from paretune.models.handle import inspect
from paretune.models.legal_files import add_legal
from paretune.models.mlflow import MLMODEL
from paretune.models.pickles import SUFFIXES

KINDS = frozenset({ModelKind.HF, ModelKind.HF_ADAPTER})
"""Kinds of model that have this form."""
_MODEL, _TOKENIZER, _ADAPTER = "model", "components/tokenizer", "peft"
_OF_THE_MODEL = ("config.json", "generation_config.json")
_DTYPES = {"fp32": "torch.float32", "fp16": "torch.float16", "bf16": "torch.bfloat16"}
_CAUSAL = ("ForCausalLM", "LMHeadModel")
_TEXT = '[{"type": "string", "required": true}]'
_PACKAGES = ("torch", "transformers", "accelerate")


def check_form(model: Model) -> None:
    """Refuse a model that MLflow's flavor transformers has no form for.

    Args:
        model: A model of any kind.

    Raises:
        UsageError: It is of another kind, or needs Python code of its own.
    """
    if model.kind not in KINDS:
        raise UsageError(
            f"--mlflow: a model of kind {model.kind} has no MLflow form: MLflow's flavor "
            "transformers holds Hugging Face models",
            hint="Use the package itself, or pick a candidate of kind hf: one whose recipe ends "
            "with `merge`, or has no passes.",
        )
    whole = model.base or model
    if names_code(whole.path):
        raise UsageError(
            f"--mlflow: the model in {whole.path} needs Python code of its own (auto_map), and "
            "MLflow's flavor transformers loads none",
            hint="Use a model whose architecture transformers knows, or leave --mlflow out.",
        )


def write_mlflow(model: Model, out: Path, name: str) -> None:
    """Write a model as an MLflow folder.

    Args:
        model: A Hugging Face model, or an adapter with its base; it is not changed.
        out: The folder to write; replaced if it exists.
        name: What the model is called in the folder.

    Raises:
        UsageError: The model has no such form.
        StateError: One of its files is gone.
    """
    check_form(model)
    whole = model.base or model
    aside = out.with_name(f".{out.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        for part in (_MODEL, _TOKENIZER):
            (aside / part).mkdir(parents=True)
        _copy_model(whole, aside)
        if model.base is not None:
            _copy(model, aside / _ADAPTER)
        _write_settings(model, whole, aside, name)
        add_legal(aside, dict.fromkeys((whole.path, model.path)))
    except FileNotFoundError as error:
        raise StateError(
            f"{error.filename} went while {model.path} was copied", hint="Begin again."
        ) from error
    shutil.rmtree(out, ignore_errors=True)
    aside.rename(out)


def _copy_model(model: Model, out: Path) -> None:
    """Copy a model's files: its configuration and weights to one part, the others to the other."""
    for name, file in _files(model).items():
        weights = ".safetensors" in file.name
        part = _MODEL if name in _OF_THE_MODEL or weights else _TOKENIZER
        target = out / part / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    settings = out / _TOKENIZER / "tokenizer_config.json"
    if not settings.is_file() or not read_model_json(settings).get("tokenizer_class"):
        # Without a class of its own, transformers finds it by the model's type.
        shutil.copyfile(out / _MODEL / "config.json", out / _TOKENIZER / "config.json")


def _copy(model: Model, out: Path) -> None:
    for name, file in _files(model).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, out / name)


def _files(model: Model) -> dict[str, Path]:
    """Return a model's files by their names in its folder, without those that may be pickled."""
    return {
        file.relative_to(model.path).as_posix(): file
        for file in model.parts
        if file.suffix.lower() not in SUFFIXES
    }


def _write_settings(model: Model, whole: Model, out: Path, name: str) -> None:
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    flavor: dict[str, Json] = {
        "code": None,
        "components": ["tokenizer"],
        "instance_type": "TextGenerationPipeline",
        "model_binary": _MODEL,
        "pipeline_model_type": _class_of(whole.path),
        "source_model_name": name,
        "task": "text-generation",
        "tokenizer_type": "AutoTokenizer",
        "torch_dtype": _DTYPES.get(inspect(whole.path).precision, "torch.float32"),
        "transformers_version": _version("transformers"),
    }
    if model.base is not None:
        flavor["peft_adaptor"] = _ADAPTER
    environment = {"conda": "conda.yaml", "virtualenv": "python_env.yaml"}
    python = platform.python_version()
    said = {
        "flavors": {
            "python_function": {
                "env": environment,
                "loader_module": "mlflow.transformers",
                "python_version": python,
            },
            "transformers": flavor,
        },
        "metadata": {"paretune": {"artifact": model.digest}},
        "model_size_bytes": size,
        "model_uuid": uuid.uuid5(uuid.NAMESPACE_URL, model.digest).hex,
        "signature": {"inputs": _TEXT, "outputs": _TEXT, "params": None},
    }
    packages = ["mlflow", *_pins([*_PACKAGES, *(["peft"] if model.base is not None else [])])]
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": packages}],
    }
    python_env = {
        "python": python,
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": ["-r requirements.txt"],
    }
    for file, value in ((MLMODEL, said), ("conda.yaml", conda), ("python_env.yaml", python_env)):
        write_atomic(out / file, _yaml(value))
    write_atomic(out / "requirements.txt", "".join(f"{line}\n" for line in packages))


def _class_of(folder: Path) -> str:
    """Return the class of transformers that loads a model."""
    named = read_model_json(folder / "config.json").get("architectures")
    first = named[0] if isinstance(named, list) and named else None
    known = isinstance(first, str) and first.isidentifier() and first.endswith(_CAUSAL)
    return str(first) if known else "AutoModelForCausalLM"


def _pins(names: list[str]) -> list[str]:
    """Return packages with the versions that are installed here; others have none."""
    found = [(name, _version(name)) for name in names]
    return [name if version is None else f"{name}=={version}" for name, version in found]


def _version(name: str) -> str | None:
    """Return the public version of an installed package: an index has no local ones."""
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def _yaml(value: Mapping[str, Json]) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return text
