"""What the files of a model may name: files in the model's own folder, and nothing else.

A model is data from elsewhere. Its index files, runtime settings and ONNX tensors name further
files, and the libraries behind paretune open what is named. Everything that is named is therefore
checked first, where the user names a model and again in the worker before a runtime gets the
folder. Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

from paretune.core.errors import UsageError
from paretune.core.folders import _stays, check_entry
from paretune.core.jsontools import Json
from paretune.models.files import candidates
from paretune.models.kinds.base import kind_of
from paretune.models.onnx_files import external_files

WEIGHTS = "model.safetensors"
ADAPTER = "adapter_model.safetensors"

_STAY_INSIDE = (
    "Models may not reach outside of their folder: copy the file into it, or the whole folder with "
    "what its links lead to: cp -rL FOLDER COPY."
)


def check_model(folder: Path) -> set[Path]:
    """Refuse a model folder that names files outside of it, or has pickled weights only.

    Args:
        folder: A model folder of any kind.

    Returns:
        The files that it names, beside those that each model of its kind has.

    Raises:
        UsageError: Says which file names what, or how to convert the weights.
    """
    root = folder.resolve()
    files = list(candidates(folder))
    for path in files:
        check_entry(path, root)
    kind = kind_of(folder)
    return set() if kind is None else kind.check(folder, files)


def named_by_onnx(file: Path) -> set[Path]:
    """Return the files that hold an ONNX model's weights: they lie in its own folder.

    Raises:
        UsageError: One lies elsewhere, is missing, or ends before the last of its weights.
    """
    where, found = f"{file}: external data", set()
    for name, size in external_files(file).items():
        path = inside(file.parent, name, where)
        there = path.stat().st_size
        if there < size:
            raise UsageError(
                f"{where} names {shown(name)} with {size} bytes of weights, and that file has "
                f"{there}",
                hint="Is the model complete? Copy or export it again, with this file.",
            )
        found.add(path)
    return found


def inside(folder: Path, name: Json, where: str, *, or_folder: bool = False) -> Path:
    """Return the file that a model names; it must be there, in the model's own folder.

    Args:
        folder: The model's folder.
        name: What the model says.
        where: Which file of the model says it, and where.
        or_folder: It may be a folder, too.

    Raises:
        UsageError: It leads out, by ``..``, as an absolute path or through a link; or is missing.
    """
    if not isinstance(name, str) or not name or leads_out(name):
        raise UsageError(
            f"{where} names {shown(name)}, expected a file in the model's folder",
            hint=_STAY_INSIDE,
        )
    path = folder / name
    if not _stays(path, folder.resolve()):
        raise UsageError(
            f"{where} names {shown(name)}, a link that leads out of the model's folder",
            hint=_STAY_INSIDE,
        )
    if not (_is(path.is_file) or (or_folder and _is(path.is_dir))):
        raise UsageError(
            f"{where} names {shown(name)}, and there is no such file",
            hint="Is the model complete?",
        )
    return path


def leads_out(name: str) -> bool:
    """Return whether a name is an absolute path or goes up, on this system or on another."""
    windows = PureWindowsPath(name)
    parts = {*PurePosixPath(name).parts, *windows.parts}
    return bool(windows.anchor) or name.startswith("/") or ".." in parts or "\0" in name


def _is(kind: Callable[[], bool]) -> bool:
    """Return whether a path is there and of a kind; a name that is too long is not a path."""
    try:
        return kind()
    except OSError:
        return False


def shown(name: Json) -> str:
    """Return what a model names, as a message shows it."""
    text = repr(name)
    return text if len(text) <= 80 else text[:77] + "..."
