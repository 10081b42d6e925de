"""Tasks whose files lie on another machine: what they name, and the same tasks over there.

The parent gives every file of a task its digest (`described`); the far side asks for those that it
lacks (`digests_of`), and runs the task with paths of its own (`localized`). Models, data sets and
files that parameters name travel. Other paths, such as those in the arguments of a `Call`, do not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from paretune.core.file_functions import file_of
from paretune.core.folders import folder_files
from paretune.core.job import Build, Call, Task
from paretune.core.jsontools import Json
from paretune.core.made import Made
from paretune.core.model import Model
from paretune.core.stamps import InputFiles, Stamped, stamp, take
from paretune.store.artifacts import Store
from paretune.store.gc import forget
from paretune.targets.transports.files import FileStore
from paretune.targets.transports.kept_digests import KeptDigests, Key, key_of


class Describer:
    """Gives the files of tasks their digests; a file that was not written since is read once.

    Args:
        store: The artifact store, which keeps them for other processes; None: nothing does.
    """

    def __init__(self, store: Path | None = None) -> None:
        self._known: dict[Key, str] = {}
        self._kept = None if store is None else KeptDigests(store)

    def described(self, task: Task) -> Task:
        """Return a task in which every model lists its files, and each path is the one of a file.

        Raises:
            UsageError: A file is being written, or is gone.
        """
        # A model in use is checked by the parent, against the folder that the user named.
        inputs = tuple(
            entry if entry.elsewhere else replace(entry, files=tuple(map(_resolved, entry.files)))
            for entry in task.inputs
            if entry.folder is None and not entry.stays
        )
        changes: dict[str, Any] = {"inputs": inputs}
        for name, model in _models_of(task).items():
            changes[name] = self._with_files(model)
        data, params = getattr(task, "data", None), getattr(task, "params", None)
        if data is not None:
            root = Path(data.get("root", "."))
            paths = {str(file.path) for entry in inputs for file in entry.files}

            def absolute(text: str) -> str:
                file, function = (file_of(text), text[len(file_of(text)) :])
                try:
                    full = str((root / file).resolve())
                except (OSError, ValueError):  # no path at all
                    return text
                return full + function if full in paths else text

            changes["data"] = {**data, "specs": _mapped(data.get("specs", {}), absolute)}
            if params is not None:
                changes["params"] = _mapped(dict(params), absolute)
        return replace(task, **changes)

    def files_in(self, folder: Path, digest: str = "") -> tuple[Stamped, ...]:
        """Return the files of an artifact with their digests.

        Args:
            folder: The artifact's.
            digest: The artifact's; empty: it has none.

        Raises:
            UsageError: A file is being written, or is gone.
        """
        return self._take_all(digest, folder, folder_files(folder))

    def forget(self, task: Task) -> None:
        """Have the files of a described task read again: one may not have the digest kept of it."""
        for file in files_of(task).values():
            self._known.pop(key_of(file.stamp), None)
        if self._kept is not None:
            for digest in _artifacts_of(task):
                self._kept.forget(digest)

    def _with_files(self, model: Model) -> Model:
        # What the input model's files are was read when it was opened.
        self._known |= {key_of(file.stamp): file.sha256 for file in model.files or ()}
        files = self._take_all(model.digest, model.path, model.parts)
        base = None if model.base is None else self._with_files(model.base)
        return replace(model, files=files, base=base)

    def _take_all(self, digest: str, folder: Path, paths: Sequence[Path]) -> tuple[Stamped, ...]:
        if self._kept is not None:
            self._known |= self._kept.of(digest)
        files = tuple(self._take(folder, path) for path in paths)
        if self._kept is not None:
            self._kept.keep(digest, {key_of(file.stamp): file.sha256 for file in files})
        return files

    def _take(self, folder: Path, path: Path) -> Stamped:
        name, now = path.relative_to(folder).as_posix(), stamp(path)
        key = key_of(now)
        if key not in self._known:
            read = take(path, name)
            self._known[key_of(read.stamp)] = read.sha256
            return read
        return Stamped(path, name, now, self._known[key])


def _models_of(task: Task) -> dict[str, Model]:
    """Return the models of a task by the name of its attribute."""
    found = {name: getattr(task, name, None) for name in ("model", "reference")}
    return {name: model for name, model in found.items() if isinstance(model, Model)}


def _with_bases(task: Task) -> Iterator[Model]:
    for model in _models_of(task).values():
        inner: Model | None = model
        while inner is not None:
            yield inner
            inner = inner.base


def _artifacts_of(task: Task) -> Iterator[str]:
    yield from (model.digest for model in _with_bases(task))
    if isinstance(task, Build):
        yield from (seed.digest for seed in task.seeds or ())


def files_of(task: Task) -> dict[str, Stamped]:
    """Return the files of a described task by digest."""
    found = {file.sha256: file for entry in task.inputs for file in entry.files}
    for model in _with_bases(task):
        found |= {file.sha256: file for file in model.files or ()}
    if isinstance(task, Build):
        found |= {file.sha256: file for seed in task.seeds or () for file in seed.files}
    return found


def addresses_of(task: Task) -> dict[str, str]:
    """Return the files of a task that the far side reads in place: their addresses by digest.

    What `paretune.data.described` is to read has another key in place of the digest, which is not
    known yet.
    """
    if isinstance(task, Call):
        return dict(task.args.get("addresses", {}))
    known = (getattr(task, "data", None) or {}).get("addresses", {})
    return {digest: known[digest] for digest in files_of(task) if digest in known}


@contextmanager
def localized(task: Task, store: FileStore) -> Iterator[Task]:
    """Yield a described task with paths of this machine; its files are removed afterwards.

    A build uses the store of this machine, which holds its artifacts meanwhile.

    Args:
        task: As the parent sent it.
        store: Has all of its files.

    Raises:
        UsageError: A name leads out of its folder.
        TransientError: A file is not there any more.
    """
    with store.folder() as folder, held_by(folder, store.root, isinstance(task, Build)):
        moved: dict[str, str] = {}
        inputs = []
        for number, entry in enumerate(task.inputs):
            inputs.append(_laid_out(entry, store, folder / "inputs" / str(number), moved))
        changes: dict[str, Any] = {"inputs": tuple(inputs)}
        for name, model in _models_of(task).items():
            changes[name] = _model(model, store, folder / name)
        if isinstance(task, Build):
            seeds = (
                _seed(seed, store, folder / "seeds" / str(number))
                for number, seed in enumerate(task.seeds or ())
            )
            changes |= {"store": store.root, "study": folder, "seeds": tuple(seeds)}
        for key in ("data", "params"):
            if getattr(task, key, None) is not None:
                changes[key] = _mapped(getattr(task, key), lambda text: _moved(text, moved))
        yield replace(task, **changes)


@contextmanager
def held_by(folder: Path, store_root: Path, builds: bool) -> Iterator[None]:
    """Have what a build in a folder uses of a store held, as if it was a study that is searched."""
    if not builds:
        yield
        return
    # Another thread may end it than the one that began it.
    with FileLock(folder / ".lock", thread_local=False):
        try:
            yield
        finally:
            forget(Store(store_root), folder)


def _moved(text: str, moved: dict[str, str]) -> str:
    """Return the place over there of a file, or of a function in one; any other text as it is."""
    file = file_of(text)
    return moved[file] + text[len(file) :] if file in moved else text


def _laid_out(
    entry: InputFiles, store: FileStore, folder: Path, moved: dict[str, str]
) -> InputFiles:
    # Where they are from each other stays: a module finds those beside it.
    root = os.path.commonpath([file.path.parent for file in entry.files]) if entry.files else ""
    files = []
    for file in entry.files:
        name = file.path.relative_to(root).as_posix()
        store.lay_out({name: file.sha256}, folder)
        moved[str(file.path)] = str(folder / name)
        files.append(Stamped(folder / name, file.name, stamp(folder / name), file.sha256))
    return replace(entry, files=tuple(files), elsewhere=False)


def _model(model: Model, store: FileStore, folder: Path) -> Model:
    store.lay_out({file.name: file.sha256 for file in model.files or ()}, folder)
    base = None
    if model.base is not None:
        base = _model(model.base, store, folder.with_name(f"{folder.name}-base"))
    return replace(model, path=folder, files=None, base=base)


def _seed(seed: Made, store: FileStore, folder: Path) -> Made:
    store.lay_out({file.name: file.sha256 for file in seed.files}, folder)
    return replace(seed, files=tuple(replace(f, path=folder / f.name) for f in seed.files))


def _resolved(file: Stamped) -> Stamped:
    return replace(file, path=file.path.resolve())


def _mapped(value: Json, change: Callable[[str], str]) -> Json:
    """Return a JSON value with each of its texts changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, (list, tuple)):
        return [_mapped(inner, change) for inner in value]
    if isinstance(value, dict):
        return {key: _mapped(inner, change) for key, inner in value.items()}
    return value
