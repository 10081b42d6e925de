"""The model of an MLflow folder as a Hugging Face folder: its parts put together in the store.

The files are not changed, but for the base that an adapter's settings name. Large files are hard
links of those in the MLflow folder where that is possible.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from paretune.core.errors import UsageError
from paretune.core.folders import check_entry, link_or_copy
from paretune.core.jsontools import canonical, read_model_json, write_json
from paretune.core.stamps import stamp
from paretune.core.used_folders import hold, remove_unused
from paretune.models.files import candidates, names_code
from paretune.models.legal_files import legal_by_name
from paretune.models.mlflow import MlflowParts
from paretune.models.pickles import SUFFIXES

_FOLDER = "mlflow"
_LINK_FROM_BYTES = 1 << 20
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
    name = parts.folder.resolve().name or "model"
    key = _key(parts.folder, whole, adapter)
    place = store / _FOLDER / key
    inner = f"model/{name}"
    wanted = (
        {f"base/{n}": source for n, source in whole.items()}
        | {f"{inner}/{n}": source for n, source in adapter.items()}
        if adapter
        else {f"{inner}/{n}": source for n, source in whole.items()}
    )
    while not (_is_there(place, wanted) and hold(place)):
        _make(place, wanted, inner, parts, key, (whole, adapter))
    return place / inner


def remove_unused_layouts(store: Path, older_than_s: float = 0.0) -> None:
    """Remove the folders that `laid_out` has made in a store and that no process uses.

    Args:
        store: The store.
        older_than_s: Only those that were not used for so many seconds.
    """
    remove_unused(store / _FOLDER, older_than_s)


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


def _key(folder: Path, *groups: Mapping[str, Path]) -> str:
    """Return a name for what the files are now; a changed file gives another one.

    The inode's own time is left out: a hard link changes it.
    """
    looks = []
    for group in groups:
        for name, path in sorted(group.items()):
            look = stamp(path)
            looks.append([name, look.size, look.mtime_ns, look.inode[1]])
        looks.append([])
    text = canonical([str(folder.resolve()), looks])
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _is_there(place: Path, wanted: Mapping[str, Path]) -> bool:
    """Return whether a folder is complete: its files are there, with their sizes."""
    with contextlib.suppress(OSError):
        return all(
            (place / name).stat().st_size == source.stat().st_size
            for name, source in wanted.items()
            if not name.endswith(_SETTINGS)
        ) and all((place / name).is_file() for name in wanted)
    return False


def _make(
    place: Path,
    wanted: Mapping[str, Path],
    inner: str,
    parts: MlflowParts,
    key: str,
    groups: tuple[Mapping[str, Path], ...],
) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=place.parent))
    hold(aside)
    folders = (parts.folder, parts.model, parts.adapter)
    notices = legal_by_name(folder for folder in folders if folder is not None)
    try:
        beside = {f"{inner}/{name}": file for name, file in notices}
        for name, source in {**wanted, **beside}.items():
            target = aside / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.stat().st_size >= _LINK_FROM_BYTES:
                link_or_copy(source, target)
            else:
                shutil.copyfile(source, target)
        settings = aside / inner / _SETTINGS
        if settings.is_file():
            # Its base is here, whatever it was called where the adapter was trained.
            said = read_model_json(settings)
            write_json(settings, said | {"base_model_name_or_path": _BASE, "revision": None})
        if _key(parts.folder, *groups) != key:
            raise UsageError(
                f"model {str(parts.folder)!r} is being written", hint="Begin again when it is done."
            )
        if place.is_dir() and not _is_there(place, wanted):
            shutil.rmtree(place)
        try:
            os.rename(aside, place)
        except OSError:
            if not _is_there(place, wanted):  # else another process made the same meanwhile
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
