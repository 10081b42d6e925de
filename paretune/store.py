"""The artifact store: what a pass built is kept by content, and found again by how it was built.

Layout::

    STORE/objects/DIGEST/       a model folder; written aside, flushed, renamed
    STORE/actions/KEY.json      "this pass on that input gives object DIGEST"; written after it
    STORE/locks/KEY.lock        held while a key is being built
    STORE/staging/              folders being written; one left behind is removed by its age

The idea of an action that points at content is that of Bazel's remote cache
(https://bazel.build/remote/caching): an object exists before any action that names it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from paretune.errors import StateError
from paretune.jsontools import Json, digest, fsync_folder, read_json, write_json
from paretune.models import (
    Model,
    ModelKind,
    detect_kind,
    folder_bytes,
    folder_digest,
    folder_files,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

    from paretune.passes.base import Pass

_STALE_AFTER_S = 24 * 3600.0


def default_store() -> Path:
    """Return ``$PARETUNE_STORE``, else ``paretune`` in the user's cache folder."""
    named = os.environ.get("PARETUNE_STORE")
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "paretune"


def package_version(name: str) -> str:
    """Return a distribution's version, or ``absent``."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


class Store:
    """Artifacts by digest, and actions by key.

    Args:
        root: The store's folder; made if absent.

    Raises:
        StateError: The folder cannot be written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            for name in ("objects", "actions", "locks", "staging"):
                (root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(
                f"store {str(root)!r} cannot be written: {error.strerror}",
                hint="Name another folder with --store DIR or $PARETUNE_STORE.",
            ) from error

    def action_key(
        self,
        *,
        input_digest: str,
        pass_: Pass,
        params: BaseModel,
        data: Mapping[str, str],
        provider: str,
    ) -> str:
        """Return the key of one pass on one input: everything that its output depends on.

        Args:
            input_digest: Digest of the model that the pass is given (of an adapter's base too).
            pass_: The pass.
            params: Its parameters, defaults filled in.
            data: Digest of each data set that it reads, by reference.
            provider: Execution provider; counts only where the pass says that it matters.
        """
        return digest(
            {
                "input": input_digest,
                "pass": pass_.name,
                "version": pass_.version,
                "params": params.model_dump(mode="json"),
                "data": dict(data),
                "provider": provider if pass_.provider_matters else None,
                "packages": {name: package_version(name) for name in pass_.packages},
            }
        ).removeprefix("sha256:")

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold a key while looking it up and building it; others wait (across processes)."""
        with FileLock(self.root / "locks" / f"{key}.lock"):
            yield

    def lookup(self, key: str) -> Model | None:
        """Return the artifact of a key, or None if it is absent or its sizes do not match."""
        action = self._action(key)
        if action is None:
            return None
        folder = self.object_path(action["digest"])
        if not folder.is_dir() or folder_bytes(folder) != action["bytes"]:
            return None
        return Model(ModelKind(action["kind"]), folder, action["digest"])

    def note(self, key: str) -> dict[str, Json]:
        """Return what was noted when a key was built (seconds, pass, parameters)."""
        action = self._action(key)
        return {} if action is None else dict(action["note"])

    def _action(self, key: str) -> dict[str, Json] | None:
        try:
            action: dict[str, Json] = read_json(self.root / "actions" / f"{key}.json")
        except FileNotFoundError:
            return None
        return action

    @contextmanager
    def stage(self) -> Iterator[Path]:
        """Yield an empty folder on the store's file system; what is left of it is removed."""
        self.sweep()
        folder = Path(tempfile.mkdtemp(dir=self.root / "staging"))
        lock = FileLock(self._stage_lock(folder))
        with lock:
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                self._stage_lock(folder).unlink(missing_ok=True)

    def _stage_lock(self, folder: Path) -> Path:
        return self.root / "locks" / f"{folder.name}.stage"

    def sweep(self) -> None:
        """Remove staging folders that a killed process left: those whose lock nobody holds."""
        for folder in (self.root / "staging").iterdir():
            lock = self._stage_lock(folder)
            if not lock.exists():
                # Just made, its lock to come; or left so by a process killed in between.
                try:
                    old = time.time() - folder.stat().st_mtime > _STALE_AFTER_S
                except FileNotFoundError:  # its owner was faster
                    continue
                if old:
                    shutil.rmtree(folder, ignore_errors=True)
                continue
            try:
                with FileLock(lock, blocking=False):
                    shutil.rmtree(folder, ignore_errors=True)
                    lock.unlink(missing_ok=True)
            except Timeout:
                continue  # in use

    def put(
        self, key: str, folder: Path, kind: ModelKind, note: Mapping[str, Json] | None = None
    ) -> Model:
        """Move a staged folder into the store and record the action; durable when it returns.

        Args:
            key: The action's key.
            folder: A folder inside `stage`; it is moved away.
            kind: What it is.
            note: What to remember of how it was made.
        """
        name = folder_digest(folder)
        size = folder_bytes(folder)
        final = self.object_path(name)
        if not final.is_dir():
            for file in folder_files(folder):
                with open(file, "rb") as handle:
                    os.fsync(handle.fileno())
            try:
                os.rename(folder, final)
            except OSError:
                if not final.is_dir():  # else another key's builder put the same bytes there
                    raise
            fsync_folder(final.parent)
        write_json(
            self.root / "actions" / f"{key}.json",
            {"digest": name, "bytes": size, "kind": kind.value, "note": dict(note or {})},
        )
        return Model(kind, final, name)

    def object_path(self, name: str) -> Path:
        """Return where the artifact of a digest lies (or would lie)."""
        return self.root / "objects" / name.replace(":", "-")

    def open_object(self, name: str) -> Model:
        """Return an artifact by its digest.

        Raises:
            StateError: It is not in the store any more.
        """
        folder = self.object_path(name)
        if not folder.is_dir():
            raise StateError(
                f"artifact {name[:19]} is not in the store {str(self.root)!r} any more",
                hint="Build it again: paretune run RECIPE.yaml, or the same search once more.",
            )
        return Model(detect_kind(folder), folder, name)

    def verify(self) -> list[str]:
        """Return what is wrong in the store: one sentence a fault, none if it is whole."""
        faults = []
        for file in sorted((self.root / "actions").glob("*.json")):
            action = read_json(file)
            folder = self.object_path(action["digest"])
            if not folder.is_dir():
                faults.append(f"action {file.stem[:12]}: its object is missing")
            elif folder_digest(folder) != action["digest"]:
                faults.append(f"object {folder.name[:19]}: content does not match its digest")
        return faults

    def usage(self) -> tuple[int, int]:
        """Return the number of objects and their bytes."""
        objects = [folder for folder in (self.root / "objects").iterdir() if folder.is_dir()]
        return len(objects), sum(folder_bytes(folder) for folder in objects)

    def clear(self) -> None:
        """Remove every artifact and action (actions first: none may point at nothing)."""
        for file in (self.root / "actions").glob("*.json"):
            file.unlink()
        for folder in (self.root / "objects").iterdir():
            shutil.rmtree(folder)
