"""The artifact store: what a pass built is kept by content, and found again by how it was built.

Layout::

    STORE/objects/DIGEST/       a model folder; written aside, flushed, renamed
    STORE/actions/KEY.json      "this pass on that input gives object DIGEST"; written after it
    STORE/held/ID.json          a study that uses this store; ID.objects: the artifacts it came to
    STORE/locks/KEY.lock        held while a key is being looked up, built or removed
    STORE/staging/              folders being written (`paretune.store.staging`)
    STORE/damaged/              what was found to be wrong, set aside
    STORE/compared/             what comparisons of builds share for a while (`targets`)
    STORE/arriving/, partial/, digests/   of files that travel (`paretune.targets.transports`)
    STORE/checkpoints/KEY/      states of a run that can be continued (`paretune.store.checkpoints`)

The idea of an action that points at content is that of Bazel's remote cache
(https://bazel.build/remote/caching): an object exists before any action that names it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from filelock import FileLock, Timeout

from paretune.core.distributions import package_version
from paretune.core.errors import StateError, TransientError, UsageError
from paretune.core.folders import folder_files, folder_size
from paretune.core.jsontools import Json, digest, fsync_folder, read_json, write_json
from paretune.core.model import Model, ModelKind
from paretune.models.handle import detect_kind, folder_bytes, folder_digest
from paretune.store.staging import Staging

if TYPE_CHECKING:
    from pydantic import BaseModel

_FOLDERS = ("objects", "actions", "held", "locks", "staging", "damaged")
Stamp = tuple[tuple[str, int, int, int], ...]
"""Of each file: its name, size, time of change in ns, and inode: a write changes it. Not the time
of the inode's own change, which each package's hard link sets."""


class Builder(Protocol):
    """What of a pass is part of a key.

    Attributes:
        name: As in the configuration.
        version: Another one builds something else from the same input.
        provider_matters: Whether the build depends on the execution provider.
        packages: Distributions whose versions count.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    provider_matters: ClassVar[bool]
    packages: ClassVar[tuple[str, ...]]


@dataclass(frozen=True)
class Action:
    """What one pass made of one input.

    Attributes:
        key: See `Store.action_key`.
        digest: The object that was built.
        bytes: Size of the object's files.
        kind: What the object is.
        note: How it was made (pass, parameters, seconds).
    """

    key: str
    digest: str
    bytes: int
    kind: str
    note: Mapping[str, Json]


class Store:
    """Artifacts by digest, and actions by key.

    Args:
        root: The store's folder; made if absent.
        study: The study that uses it: what it comes to use is held for it.

    Attributes:
        faults: What was found to be wrong and set aside so far, a sentence each.

    Raises:
        StateError: The folder cannot be written.
    """

    def __init__(self, root: Path, study: Path | None = None) -> None:
        self.root = root
        self.faults: list[str] = []
        self._checked: dict[str, Stamp] = {}
        self._holder = None if study is None else digest(str(study.resolve()))[7:23]
        try:
            for name in _FOLDERS:
                (root / name).mkdir(parents=True, exist_ok=True)
            self._staging = Staging(root / "staging", root / "locks")
            if study is not None:
                self._introduce(study)
        except OSError as error:
            raise StateError(
                f"store {str(root)!r} cannot be written: {error.strerror}",
                hint="Name another folder with --store DIR or $PARETUNE_STORE.",
            ) from error

    def _introduce(self, study: Path) -> None:
        file = self.root / "held" / f"{self._holder}.json"
        if not file.is_file():
            write_json(file, {"study": str(study.resolve())})

    def action_key(
        self,
        *,
        input_digest: str,
        pass_: Builder,
        params: BaseModel,
        data: Mapping[str, str],
        provider: str,
        more: Mapping[str, Json] | None = None,
    ) -> str:
        """Return the key of one pass on one input: everything that its output depends on.

        Args:
            input_digest: Digest of the model that the pass is given (of an adapter's base too).
            pass_: The pass.
            params: Its parameters, defaults filled in.
            data: Digest of each data set that it reads, by reference.
            provider: Execution provider; counts only where the pass says that it matters.
            more: What else it depends on: a plug-in's code, files that parameters name.
        """
        return digest(
            {
                **(more or {}),
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
    def lock(self, key: str, *, wait: bool = True) -> Iterator[None]:
        """Hold a key while looking it up, building or removing it; others wait, across processes.

        Raises:
            filelock.Timeout: It is held elsewhere, and `wait` is False.
        """
        with FileLock(self.root / "locks" / f"{key}.lock", blocking=wait):
            yield

    def lookup(self, key: str) -> Model | None:
        """Return the artifact of a key whose lock is held, or None if it must be built.

        Sizes are compared here, contents by `is_intact`. What is wrong is set aside.
        """
        action = self.action(key)
        if action is None:
            return None
        with self.lock_object(action.digest):
            model = self._find(action)
            if model is not None:
                self.hold(model.digest)
                os.utime(self._action_file(key))  # when it was used last
        return model

    def lock_object(self, name: str) -> AbstractContextManager[None]:
        """Hold an object while it is being taken into use, or removed; taken after a key's lock."""
        return self.lock(self.object_path(name).name)

    def _find(self, action: Action) -> Model | None:
        key, folder = action.key, self.object_path(action.digest)
        if not folder.is_dir():
            self._set_aside(self._action_file(key), f"action {key[:12]}: its object is missing")
            return None
        size = folder_bytes(folder)
        if size != action.bytes:
            self._set_aside(
                folder, f"artifact {folder.name[:19]}: {size} bytes, expected {action.bytes}"
            )
            self._action_file(key).unlink(missing_ok=True)
            return None
        return Model(action.kind, folder, action.digest)

    def action(self, key: str) -> Action | None:
        """Return what is recorded under a key; a damaged record is set aside."""
        file = self._action_file(key)
        try:
            value = read_json(file)
            return Action(
                key, value["digest"], value["bytes"], ModelKind(value["kind"]), value["note"]
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            self._set_aside(file, f"action {key[:12]} cannot be read: {error!r}")
            return None

    def actions(self) -> list[Action]:
        """Return every readable action, by key."""
        keys = sorted(file.stem for file in (self.root / "actions").glob("[!.]*.json"))
        return [action for action in map(self.action, keys) if action is not None]

    def _action_file(self, key: str) -> Path:
        return self.root / "actions" / f"{key}.json"

    def used(self, key: str) -> float:
        """Return when an action was made or found last, in seconds since the epoch."""
        return self._action_file(key).stat().st_mtime

    def is_intact(self, name: str) -> bool:
        """Return whether an artifact's content is that of its digest; if not, it is set aside.

        The content is read at its first use in a process, and again when a file has changed.

        Args:
            name: Digest of the artifact.
        """
        folder = self.object_path(name)
        if not folder.is_dir():
            return False
        try:
            stamp = stamp_of(folder)
            if self._checked.get(name) == stamp:
                return True
            found = folder_digest(folder)
        except (FileNotFoundError, UsageError):
            if folder.is_dir():
                raise
            return False  # removed meanwhile
        if found != name:
            self._set_aside(
                folder, f"artifact {folder.name[:19]}: its content does not match its digest"
            )
            return False
        self._checked[name] = stamp
        return True

    def trust(self, name: str) -> None:
        """Take an artifact for checked as it is now: its digest has just been computed."""
        self._checked[name] = stamp_of(self.object_path(name))

    def _set_aside(self, path: Path, fault: str) -> None:
        place = self.root / "damaged" / f"{path.name}.{uuid.uuid4().hex[:8]}"
        try:
            os.rename(path, place)
        except FileNotFoundError:  # another process was faster
            return
        self.faults.append(f"store: {fault}; set aside, to be built again")

    def hold(self, name: str) -> None:
        """Record that this store's study uses an artifact; the key's lock is held."""
        if self._holder is None:
            return
        file = self.root / "held" / f"{self._holder}.objects"
        if name not in held_in(file):
            with open(file, "a", encoding="ascii") as out:
                out.write(f"\n{name}\n")  # a line that a power cut left open ends first

    def stage(self, *, wait: bool = True) -> AbstractContextManager[Path]:
        """Return a context with an empty folder on the store's file system (see `Staging`)."""
        return self._staging.folder(wait=wait)

    def sweep(self) -> None:
        """Remove what killed processes left: staging folders, and actions half written."""
        self._staging.sweep()
        for file in (self.root / "actions").glob(".*.tmp"):
            try:
                with self.lock(file.name[1:].partition(".")[0], wait=False):
                    file.unlink(missing_ok=True)
            except Timeout:
                continue  # being written

    def put(
        self,
        key: str,
        folder: Path,
        kind: str,
        note: Mapping[str, Json] | None = None,
        *,
        announced: str | None = None,
    ) -> Model:
        """Move a staged folder into the store and record the action; durable when it returns.

        Args:
            key: The action's key, whose lock is held.
            folder: A folder inside `stage`; it is moved away.
            kind: What it is.
            note: What to remember of how it was made.
            announced: The digest that it must have; None: whatever it has.

        Raises:
            TransientError: It has another digest than was announced; nothing was recorded.
        """
        name = folder_digest(folder)
        if announced not in (None, name):
            raise TransientError(f"an artifact arrived with another content ({announced})")
        size = folder_bytes(folder)
        with self.lock_object(name):
            self.hold(name)
            if not self.is_intact(name):
                self._keep(folder, name)
            # Still under the object's lock: one without an action may be removed.
            write_json(
                self._action_file(key),
                {"digest": name, "bytes": size, "kind": str(kind), "note": dict(note or {})},
            )
        return Model(kind, self.object_path(name), name)

    def annotate(self, key: str, more: Mapping[str, Json]) -> None:
        """Add to what is remembered of an action; its key's lock is held."""
        file = self._action_file(key)
        value = read_json(file)
        write_json(file, {**value, "note": {**value["note"], **more}})

    def _keep(self, folder: Path, name: str) -> None:
        """Flush a staged folder and rename it to its place; the object's lock is held."""
        for file in folder_files(folder):
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
        for inner in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            fsync_folder(inner)
        final = self.object_path(name)
        os.rename(folder, final)
        fsync_folder(final.parent)
        self.trust(name)

    def object_path(self, name: str) -> Path:
        """Return where the artifact of a digest lies (or would lie)."""
        return self.root / "objects" / name.replace(":", "-")

    def open_object(self, name: str) -> Model:
        """Return an artifact by its digest, its content checked.

        Raises:
            StateError: It is not in the store any more, or was damaged.
        """
        folder = self.object_path(name)
        there = folder.is_dir()
        if not self.is_intact(name):
            what = "was damaged and set aside in" if there else "is no longer in"
            raise StateError(
                f"artifact {name[:19]} {what} the store {str(self.root)!r}",
                hint="Build it again: paretune run RECIPE.yaml, or the same search once more.",
            )
        return Model(detect_kind(folder), folder, name)

    def verify(self) -> list[str]:
        """Return what is wrong in the store: one sentence a fault, none if it is whole.

        Everything is read. What is wrong is set aside, so that it is built again when needed.
        """
        before = len(self.faults)
        self._checked.clear()
        for action in self.actions():
            with self.lock(action.key), self.lock_object(action.digest):
                if self.action(action.key) is None:  # removed meanwhile
                    continue
                if self._find(action) is not None and not self.is_intact(action.digest):
                    self._action_file(action.key).unlink(missing_ok=True)
        return self.faults[before:]

    def usage(self) -> tuple[int, int]:
        """Return the number of objects and of runs with checkpoints, and the bytes of all."""
        runs = [path for path in (self.root / "checkpoints").glob("*") if path.is_dir()]
        sizes = [folder_size(run) for run in runs]
        for name in self.objects():
            with suppress(FileNotFoundError):  # removed meanwhile
                sizes.append(folder_bytes(self.object_path(name)))
        return len(sizes), sum(sizes)

    def objects(self) -> list[str]:
        """Return the digest of every object, also of those that no action points at."""
        found = (self.root / "objects").glob("sha256-*")  # no other folder there is ours
        folders = sorted(path for path in found if path.is_dir())
        return [folder.name.replace("-", ":", 1) for folder in folders]


def stamp_of(folder: Path) -> Stamp:
    """Return what a folder's files look like from outside."""
    found = ((path.relative_to(folder).as_posix(), path.stat()) for path in folder_files(folder))
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in found)


def held_in(file: Path) -> set[str]:
    """Return the digests that a ``held/ID.objects`` names."""
    try:
        return set(file.read_text(encoding="ascii").split())
    except FileNotFoundError:
        return set()
