"""Tasks whose files lie on another machine: what they name, and the same tasks over there.

The parent gives every file of a task its digest (`described`); the far side asks for those that it
lacks (`digests_of`), and runs the task with paths of its own (`localized`). Models, data sets and
files that parameters name travel. Other paths, such as those in the arguments of a `Call`, do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from paretune.core.job import Task
from paretune.core.jsontools import Json
from paretune.core.model import Model
from paretune.core.stamps import InputFiles, Stamp, Stamped, stamp, take
from paretune.targets.transports.files import FileStore


class Describer:
    """Gives the files of tasks their digests; a file that was not written since is read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, tuple[int, int]], str] = {}

    def described(self, task: Task) -> Task:
        """Return a task in which every model lists its files, and each path is the one of a file.

        Raises:
            UsageError: A file is being written, or is gone.
        """
        # A model in use is checked by the parent, against the folder that the user named.
        inputs = tuple(
            replace(entry, files=tuple(map(_resolved, entry.files)))
            for entry in task.inputs
            if entry.folder is None
        )
        changes: dict[str, Any] = {"inputs": inputs}
        if isinstance(getattr(task, "model", None), Model):
            changes["model"] = self._with_files(task.model)  # type: ignore[union-attr]
        data, params = getattr(task, "data", None), getattr(task, "params", None)
        if data is not None:
            root = Path(data.get("root", "."))
            paths = {str(file.path) for entry in inputs for file in entry.files}

            def absolute(text: str) -> str:
                try:
                    full = str((root / text).resolve())
                except (OSError, ValueError):  # no path at all
                    return text
                return full if full in paths else text

            changes["data"] = {**data, "specs": _mapped(data.get("specs", {}), absolute)}
            if params is not None:
                changes["params"] = _mapped(dict(params), absolute)
        return replace(task, **changes)

    def _with_files(self, model: Model) -> Model:
        files = tuple(self._take(model.path, path) for path in model.parts)
        base = None if model.base is None else self._with_files(model.base)
        return replace(model, files=files, base=base)

    def _take(self, folder: Path, path: Path) -> Stamped:
        name, now = path.relative_to(folder).as_posix(), stamp(path)
        key = _key(now)
        if key not in self._known:
            read = take(path, name)
            self._known[_key(read.stamp)] = read.sha256
            return read
        return Stamped(path, name, now, self._known[key])


def files_of(task: Task) -> dict[str, Stamped]:
    """Return the files of a described task by digest."""
    found = {file.sha256: file for entry in task.inputs for file in entry.files}
    model: Model | None = getattr(task, "model", None)
    while model is not None:
        found |= {file.sha256: file for file in model.files or ()}
        model = model.base
    return found


@contextmanager
def localized(task: Task, store: FileStore) -> Iterator[Task]:
    """Yield a described task with paths of this machine; its files are removed afterwards.

    Args:
        task: As the parent sent it.
        store: Has all of its files.

    Raises:
        UsageError: A name leads out of its folder.
        TransientError: A file is not there any more.
    """
    with store.folder() as folder:
        moved: dict[str, str] = {}
        inputs = []
        for number, entry in enumerate(task.inputs):
            inputs.append(_laid_out(entry, store, folder / "inputs" / str(number), moved))
        changes: dict[str, Any] = {"inputs": tuple(inputs)}
        if isinstance(getattr(task, "model", None), Model):
            changes["model"] = _model(task.model, store, folder / "model")  # type: ignore[union-attr]
        for key in ("data", "params"):
            if getattr(task, key, None) is not None:
                changes[key] = _mapped(getattr(task, key), lambda text: moved.get(text, text))
        yield replace(task, **changes)


def _laid_out(
    entry: InputFiles, store: FileStore, folder: Path, moved: dict[str, str]
) -> InputFiles:
    files = []
    for number, file in enumerate(entry.files):
        name = f"{number}/{file.path.name}"  # several may have the same name
        store.lay_out({name: file.sha256}, folder)
        moved[str(file.path)] = str(folder / name)
        files.append(Stamped(folder / name, file.name, stamp(folder / name), file.sha256))
    return replace(entry, files=tuple(files))


def _model(model: Model, store: FileStore, folder: Path) -> Model:
    store.lay_out({file.name: file.sha256 for file in model.files or ()}, folder)
    base = None
    if model.base is not None:
        base = _model(model.base, store, folder.with_name(f"{folder.name}-base"))
    return replace(model, path=folder, files=None, base=base)


def _resolved(file: Stamped) -> Stamped:
    return replace(file, path=file.path.resolve())


def _key(now: Stamp) -> tuple[int, int, tuple[int, int]]:
    return (now.size, now.mtime_ns, now.inode)


def _mapped(value: Json, change: Callable[[str], str]) -> Json:
    """Return a JSON value with each of its texts changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, (list, tuple)):
        return [_mapped(inner, change) for inner in value]
    if isinstance(value, dict):
        return {key: _mapped(inner, change) for key, inner in value.items()}
    return value
