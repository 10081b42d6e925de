"""MLflow's model folders: where in one the parts of a Hugging Face model are.

A folder is data: neither MLflow nor code of the folder runs. Its file ``MLmodel`` has been read as
YAML by the caller (`paretune.config.model_source`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from paretune.core.errors import UsageError
from paretune.core.jsontools import Json
from paretune.models.containment import ADAPTER, inside, shown
from paretune.models.pickles import (
    CONVERT_ADAPTER,
    CONVERT_MLFLOW,
    SUFFIXES,
    how_to_convert,
    pickled,
    what_is_there,
)

MLMODEL = "MLmodel"
"""The file that makes a folder one of MLflow's."""
_TRANSFORMERS = "transformers"
_AZURE = ("hftransformersv2", "hftransformers")
_TASKS = (
    "text-generation",
    "chat-completion",
    "conversational",
    "llm/v1/chat",
    "llm/v1/completions",
)
_EXPECTED = (
    "Give a folder that mlflow.transformers.save_model (or Azure's hftransformersv2) wrote, or a "
    "Hugging Face folder."
)


@dataclass(frozen=True)
class MlflowParts:
    """Where in an MLflow folder the parts of a model are.

    Attributes:
        folder: The MLflow folder.
        model: The folder of the weights; of an adapter its base's; None: not here.
        config: A folder whose ``config.json`` takes precedence; None: there is none.
        tokenizer: The folder of the tokenizer's files; None: they are beside the weights.
        adapter: The folder of a LoRA adapter; None: there is none.
        code: A folder of Python files; None: there is none.
    """

    folder: Path
    model: Path | None
    config: Path | None = None
    tokenizer: Path | None = None
    adapter: Path | None = None
    code: Path | None = None


def is_mlflow(folder: Path) -> bool:
    """Return whether a folder is one of MLflow's."""
    return (folder / MLMODEL).is_file()


def find_parts(folder: Path, value: Json) -> MlflowParts:
    """Return where the parts of a model are.

    Args:
        folder: An MLflow folder.
        value: What its ``MLmodel`` holds.

    Raises:
        UsageError: It is of another flavor or task, holds no weights or pickled ones, or names
            files elsewhere.
    """
    file = folder / MLMODEL
    flavors = value.get("flavors") if isinstance(value, dict) else None
    if not isinstance(flavors, dict) or not flavors:
        raise UsageError(f"{file}: expected flavors, found {shown(flavors)}", hint=_EXPECTED)
    name = next((name for name in (_TRANSFORMERS, *_AZURE) if name in flavors), None)
    if name is None:
        raise _other_flavor(folder, flavors)
    where = f"{file}: flavors.{name}"
    flavor = flavors[name]
    if not isinstance(flavor, dict):
        raise UsageError(f"{where}: expected keys, found {shown(flavor)}", hint=_EXPECTED)
    own = name == _TRANSFORMERS
    task = flavor.get("task" if own else "task_type")
    if task is not None and task not in _TASKS:
        raise UsageError(
            f"{where}: the task is {shown(task)}, expected text-generation",
            hint="paretune takes models that generate text.",
        )
    parts = _of_transformers(folder, flavor, where) if own else _of_azure(folder, flavor, where)
    _check_weights(parts)
    return parts


def _of_transformers(folder: Path, flavor: Mapping[str, Json], where: str) -> MlflowParts:
    adapter = _named(folder, flavor.get("peft_adaptor"), f"{where}.peft_adaptor")
    name = flavor.get("model_binary")
    elsewhere = "source_model_revision" in flavor or bool(flavor.get("has_local_base_model_path"))
    if name is None and not elsewhere:
        name = "pipeline"  # what MLflow called it before it wrote this key
    model = _named(folder, name, f"{where}.model_binary")
    if model is None and adapter is None:
        raise UsageError(
            f"{where}: no weights in the folder: they are those of "
            f"{shown(flavor.get('source_model_name'))}, revision "
            f"{shown(flavor.get('source_model_revision'))}",
            hint="Name that model itself (model: ORGANISATION/NAME with --allow-network, or its "
            "folder), or put its weights into the folder: mlflow.transformers."
            "persist_pretrained_model.",
        )
    return MlflowParts(
        folder,
        model,
        tokenizer=_if_there(folder, "components/tokenizer"),
        adapter=adapter,
        code=_named(folder, flavor.get("code"), f"{where}.code"),
    )


def _of_azure(folder: Path, flavor: Mapping[str, Json], where: str) -> MlflowParts:
    data = _named(folder, flavor.get("model_data") or "data", f"{where}.model_data")
    assert data is not None
    return MlflowParts(
        folder,
        _named(data, "model", f"{where}.model_data"),
        config=_if_there(data, "config"),
        tokenizer=_if_there(data, "tokenizer"),
        code=_named(folder, flavor.get("code"), f"{where}.code"),
    )


def _named(folder: Path, name: Json, where: str) -> Path | None:
    """Return a folder that MLmodel names; None if it names none."""
    if name is None:
        return None
    path = inside(folder, name, where, or_folder=True)
    if not path.is_dir():
        raise UsageError(
            f"{where} names {shown(name)}, which is a file, expected a folder", hint=_EXPECTED
        )
    return path


def _if_there(folder: Path, name: str) -> Path | None:
    path = folder / name
    there = path.is_dir() and any(path.iterdir())
    return inside(folder, name, f"{folder}", or_folder=True) if there else None


def _check_weights(parts: MlflowParts) -> None:
    """Refuse pickled weights with how to convert them, and a folder without weights."""
    model, adapter = parts.model, parts.adapter
    if adapter is not None and not (adapter / ADAPTER).is_file():
        raise UsageError(
            f"adapter {str(adapter)!r}: expected weights in {ADAPTER}, found "
            f"{what_is_there(adapter)}",
            hint=CONVERT_ADAPTER,
        )
    if model is not None and not any(model.glob("*.safetensors")):
        raise UsageError(
            f"model {str(parts.folder)!r}: expected safetensors in {model}, found "
            f"{what_is_there(model)}",
            hint=how_to_convert(pickled(model)),
        )


def _other_flavor(folder: Path, flavors: Mapping[str, Json]) -> UsageError:
    named = ", ".join(sorted(name[:60] for name in flavors))
    pickles = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
    )
    told = f"{folder / MLMODEL}: expected the flavor {_TRANSFORMERS} or {_AZURE[0]}, found: {named}"
    if not pickles:
        return UsageError(told, hint=_EXPECTED)
    return UsageError(
        f"{told}; {pickles[0]} is a pickle, which is never read: it runs the code that it names",
        hint=CONVERT_MLFLOW.replace("'IN'", repr(str(folder))),
    )
