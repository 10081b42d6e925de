"""The model of an MLflow folder as a Hugging Face folder: its parts put together in the store.

The files are not changed, but for the base that an adapter's settings name. Large files are hard
links of those in the MLflow folder where that is possible.
"""

from __future__ import annotations

from pathlib import Path

from paretune.core.errors import UsageError
from paretune.core.folders import check_entry
from paretune.core.jsontools import read_model_json, write_json
from paretune.models.files import candidates, names_code
from paretune.models.legal_files import legal_by_name
from paretune.models.made_folders import MLFLOW, made_folder
from paretune.models.mlflow import MlflowParts
from paretune.models.pickles import SUFFIXES

_OF_THE_MODEL = ("config.json", "generation_config.json")
_SETTINGS = "adapter_config.json"
_BASE = "../../base"
"""Where an adapter's base is, from the adapter's folder on."""


def laid_out(parts: MlflowParts, store: Path) -> Path:
    """Return the folder of an MLflow folder's model; made if it is not there yet.

    Args:
        parts: Where the parts are.
        store: The store; the folder is made in its ``mlflow/``.

    Raises:
        UsageError: A link leads out of the MLflow folder, or its files change meanwhile.
        OSError: A file cannot be read or written.
    """
    if parts.model is None:
        assert parts.adapter is not None
        return parts.adapter  # it needs its base as any adapter does
    whole = _whole_model(parts)
    adapter = {} if parts.adapter is None else _files(parts.adapter, parts.folder)
    inner = f"model/{parts.folder.resolve().name or 'model'}"
    wanted = (
        {f"base/{n}": source for n, source in whole.items()}
        | {f"{inner}/{n}": source for n, source in adapter.items()}
        if adapter
        else {f"{inner}/{n}": source for n, source in whole.items()}
    )
    folders = (parts.folder, parts.model, parts.adapter)
    notices = legal_by_name(folder for folder in folders if folder is not None)
    settings = f"{inner}/{_SETTINGS}"

    def name_base(folder: Path) -> None:
        # Its base is here, whatever it was called where the adapter was trained.
        said = read_model_json(folder / settings)
        write_json(folder / settings, said | {"base_model_name_or_path": _BASE, "revision": None})

    rewritten = settings in wanted
    place = made_folder(
        store,
        MLFLOW,
        [str(parts.folder.resolve())],
        wanted,
        beside=[(f"{inner}/{name}", file) for name, file in notices],
        finish=name_base if rewritten else lambda folder: None,
        written=frozenset({settings} if rewritten else ()),
    )
    return place / inner


def _whole_model(parts: MlflowParts) -> dict[str, Path]:
    """Return the files of the model by their names; the last part that has a name brings it."""
    assert parts.model is not None
    found = _files(parts.model, parts.folder)
    if parts.config is not None:
        found |= _files(parts.config, parts.folder)
    if parts.tokenizer is not None:
        found |= {
            name: path
            for name, path in _files(parts.tokenizer, parts.folder).items()
            if name not in _OF_THE_MODEL and ".safetensors" not in name
        }
    if "config.json" not in found:
        raise UsageError(
            f"model {str(parts.folder)!r}: no config.json in {parts.config or parts.model}",
            hint="Is the model complete?",
        )
    if parts.code is not None and names_code(found["config.json"].parent):
        code = _files(parts.code, parts.folder)
        found = {n: path for n, path in code.items() if n.endswith(".py")} | found
    return found


def _files(part: Path, root: Path) -> dict[str, Path]:
    """Return the files of a part that may belong to a model, by their names in it."""
    found: dict[str, Path] = {}
    top = root.resolve()
    for path in candidates(part):
        check_entry(path, top)
        if path.is_file() and path.suffix.lower() not in SUFFIXES:
            found[path.relative_to(part).as_posix()] = path
    return found
