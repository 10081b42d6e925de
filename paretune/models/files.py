"""Which files of a folder are the model: those that loading reads, and no others.

People keep a model's folder under version control, read it, work in it, and search in it. What
they leave there changes nothing that is loaded, and so must not make it another model. In doubt a
file counts: a file too many refuses a study, a file too few mixes two models. The rule:

- Of every kind, these do not count: what begins with a dot (``.git``, ``.DS_Store``), what editors
  and systems leave, documents and pictures, licences, and a study or a store of paretune.
- A Hugging Face folder is read at its top and in ``additional_chat_templates`` only. Its pickles,
  Python files, configurations in YAML or for Olive, and tables of data are not read.
- A Hugging Face folder that names code of its own (``auto_map``) is read by that code: everything
  in it counts but the first group.
- Whatever a model's own files name counts, whatever it is called (`paretune.models.containment`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from paretune.core.jsontools import Json
from paretune.models.kinds.base import kind_of
from paretune.models.pickles import SUFFIXES as PICKLED

_LEFT_BEHIND = re.compile(
    r"\.|.*~$|#.*#$|(thumbs\.db|desktop\.ini|icon\r|__pycache__)$|"
    r".*\.(sw[op]|bak|orig|rej|tmp|part|lock|log|pyc)$",
    re.IGNORECASE,
)
_DOCUMENT = re.compile(
    r".*\.(md|rst|pdf|html?|ipynb|png|jpe?g|gif|svg|webp|mp4)$|"
    r"(license|licence|notice|copying|readme|changelog|authors|use_policy)([-_.][\w.-]*)?$",
    re.IGNORECASE,
)
LOADED = (".safetensors", ".json", ".model", ".jinja", ".onnx", ".data", ".tiktoken", ".py")
"""Suffixes that are loaded, whatever stands before them (``license.json`` is loaded)."""
_OF_ITS_USER = frozenset(
    {
        ".py",
        ".yaml",
        ".yml",
        ".toml",
        ".cfg",
        ".ini",
        ".sh",
        ".csv",
        ".tsv",
        ".jsonl",
        ".ndjson",
        ".parquet",
        ".db",
        ".zip",
        ".gz",
        ".tar",
    }
)
_MAX_CONFIGURATION_BYTES = 16 << 20
_TEMPLATES = "additional_chat_templates"


def candidates(folder: Path) -> Iterator[Path]:
    """Yield what counts by its name and place, in no order; links to folders too, to be refused.

    Args:
        folder: A model folder of any kind.
    """
    kind = kind_of(folder)
    counts = None if kind is None else kind.counts(folder)
    for path, is_folder in _entries(folder):
        if counts is not None and not counts(path, is_folder):
            continue
        if is_folder:
            yield from (inner for inner, _ in _below(path))
        else:
            yield path


def counts_for_transformers(folder: Path) -> Callable[[Path, bool], bool]:
    """Return which entries of a Hugging Face folder transformers reads: all if it runs its code."""
    if names_code(folder):
        return lambda path, is_folder: True
    return lambda path, is_folder: path.name == _TEMPLATES if is_folder else not _is_its_users(path)


def names_code(folder: Path) -> bool:
    """Return whether a JSON file at a folder's top names Python code to load (``auto_map``)."""
    return any(map(_has_auto_map, folder.glob("*.json")))


def _has_auto_map(file: Path) -> bool:
    text = _text(file)
    return '"auto_map"' in text or ("\\u" in text and "auto_map" in _object(text))


def is_study(folder: Path) -> bool:
    """Return whether a folder is a study of paretune, also one that has only just begun."""
    return (folder / "candidates").is_dir() and (
        (folder / "identity.json").is_file() or (folder / ".lock").is_file()
    )


def is_store(folder: Path) -> bool:
    """Return whether a folder is a store of paretune."""
    return all((folder / name).is_dir() for name in ("objects", "actions", "locks", "staging"))


def whole(folder: Path, *, but_ours: bool = False) -> list[Path]:
    """Return every regular file below a folder in a fixed order: what counted until version 0.1.

    Args:
        folder: The folder.
        but_ours: Leave studies and stores of paretune out.
    """
    found = []
    for place, folders, files in os.walk(folder):
        if but_ours:
            folders[:] = [n for n in folders if not _is_ours(Path(place, n))]
        found += [Path(place, name) for name in files]
    return sorted(path for path in found if path.is_file())


def _entries(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the entries of a folder that may count, and whether each is a real folder."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = folder / entry.name
        if _LEFT_BEHIND.match(entry.name) or _is_document(entry.name):
            continue
        is_folder = entry.is_dir(follow_symlinks=False)
        if not (is_folder and _is_ours(path)):
            yield path, is_folder


def _below(folder: Path) -> Iterator[tuple[Path, bool]]:
    for path, is_folder in _entries(folder):
        if is_folder:
            yield from _below(path)
        else:
            yield path, False


def _is_ours(folder: Path) -> bool:
    return is_study(folder) or is_store(folder)


def _is_document(name: str) -> bool:
    return not name.lower().endswith(LOADED) and _DOCUMENT.match(name) is not None


def _is_its_users(path: Path) -> bool:
    """Return whether a file at the top of a plain Hugging Face folder is none that is loaded."""
    suffix = path.suffix.lower()
    if suffix in _OF_ITS_USER or suffix in PICKLED:
        return True
    return suffix == ".json" and path.name != "config.json" and _is_olives(path)


def _is_olives(path: Path) -> bool:
    """Return whether a JSON file is a configuration of Olive, which says what its model is."""
    text = _text(path)
    return '"input_model"' in text and "input_model" in _object(text)


def _object(text: str) -> dict[str, Json]:
    """Return the JSON object in a text; empty where it holds none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(file: Path) -> str:
    """Return the text of a small file; empty where there is none."""
    try:
        if file.stat().st_size > _MAX_CONFIGURATION_BYTES:
            return ""
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
