"""Checkpoints in the store: the states of runs that can be continued.

``STORE/checkpoints/KEY/PLACE/`` holds the state of one run at one place. KEY is the action key of
the whole run, so everything that the run depends on is part of it. ``manifest.json`` lists the
files with their digests; it and they are written aside, flushed and renamed like an artifact. A
checkpoint whose files are not those of its manifest is removed with a note, and the run starts at
an earlier one or at its beginning.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from paretune.core.checkpoints import Checkpoint, Checkpoints
from paretune.core.folders import folder_files, folder_size
from paretune.core.jsontools import Json, fsync_folder, read_json, write_json
from paretune.core.pace import Pace
from paretune.store.artifacts import Store

EVERY_S = 60.0
"""Seconds between two states that are saved only in case the process is killed, at least."""
SHARE = 0.02
"""Of a run's time at most goes into saving those."""
_SCHEMA = 1
_MANIFEST = "manifest.json"
_NAME = "checkpoint:"


class StoredCheckpoints(Checkpoints):
    """The checkpoints of one run, in a store; `held` must be entered meanwhile.

    Args:
        store: The store.
        key: Of the whole run.
        note: What runs (pass, parameters), for people.
        stops: Where other runs of the study stop.
        ending: Gives the context of `Checkpoints.ending`.
    """

    def __init__(
        self,
        store: Store,
        key: str,
        note: Json,
        stops: tuple[float, ...] = (),
        ending: Callable[[], AbstractContextManager[Callable[[], bool]]] = (
            lambda: nullcontext(lambda: False)
        ),
    ) -> None:
        self.stops = stops
        self._store = store
        self._key = key
        self._note = note
        self._ending = ending
        self._folder = folder_of(store, key)
        self._pace = Pace(every_s=EVERY_S, share=SHARE)
        with self._pace:  # the time begins now
            pass

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run: of the processes that run it, up to whatever stop, one does at a time."""
        with self._store.lock(_lock_of(self._key)):
            self._store.hold(name_of(self._key))
            yield

    def at_most(self, place: int) -> Iterator[Checkpoint]:
        """Yield what is kept of places up to that one, the last one first; digests are checked."""
        for found in sorted(_places(self._folder), reverse=True):
            if found > place:
                continue
            folder = self._folder / str(found)
            try:
                checkpoint, _ = _read(folder, self._key)
            except (OSError, ValueError, KeyError, TypeError) as error:
                self._drop(found, str(error))
                continue
            self.resumed = checkpoint.place / place
            yield checkpoint
        self.resumed = 0.0

    def discard(self, checkpoint: Checkpoint, why: str) -> None:
        """Remove a checkpoint that cannot be used."""
        self.resumed = 0.0
        self._drop(checkpoint.place, why)

    def _drop(self, place: int, why: str) -> None:
        shutil.rmtree(self._folder / str(place), ignore_errors=True)
        self._store.faults.append(
            f"store: the checkpoint of {self._note.get('pass', 'a pass')} at {place} cannot be "
            f"used and was removed: {why}; what it had done is done again"
        )

    def save(
        self, place: int, total: int, write: Callable[[Path], None], *, stays: bool = False
    ) -> None:
        """Keep the state of a place; it is durable when this returns."""
        with self._pace, self._store.stage() as stage:
            state = stage / "state"
            state.mkdir()
            write(state)
            files = {file.name: _digest(file) for file in folder_files(state)}
            manifest = {
                "schema": _SCHEMA,
                "key": self._key,
                "place": place,
                "total": total,
                "stays": stays,
                "note": self._note,
                "files": files,
            }
            for name in files:
                _fsync(state / name)
            write_json(state / _MANIFEST, manifest)
            self._folder.mkdir(parents=True, exist_ok=True)
            final = self._folder / str(place)
            if final.exists():
                os.rename(final, stage / "earlier")
            os.rename(state, final)
            fsync_folder(self._folder)
            fsync_folder(self._folder.parent)
            self._forget_passing(stage, but=place)

    def due(self) -> bool:
        """Return whether it is time to save."""
        return self._pace.due()

    def finish(self) -> None:
        """Remove what only an interrupted run needs: this one has its output."""
        with self._store.stage() as stage:
            self._forget_passing(stage)

    def ending(self) -> AbstractContextManager[Callable[[], bool]]:
        """Return a context in which a request to end this process waits until it is left."""
        return self._ending()

    def _forget_passing(self, stage: Path, but: int | None = None) -> None:
        """Move the states that do not stay into a folder that is removed."""
        for place in _places(self._folder):
            if place != but and not _stays(self._folder / str(place)):
                os.rename(self._folder / str(place), stage / f"passed-{place}")
        with suppress(OSError):  # others are in it
            self._folder.rmdir()


@dataclass(frozen=True)
class Kept:
    """All checkpoints of one run.

    Attributes:
        key: Of the whole run.
        places: Where there is a state, ascending.
        bytes: Size of their files.
        note: What runs.
        used: When one was written last, in seconds since the epoch.
    """

    key: str
    places: tuple[int, ...]
    bytes: int
    note: Json
    used: float


def folder_of(store: Store, key: str) -> Path:
    """Return where the checkpoints of a run lie, or would lie."""
    return store.root / "checkpoints" / key


def name_of(key: str) -> str:
    """Return what a run's checkpoints are called in the list of what studies hold."""
    return f"{_NAME}{key}"


def is_name(name: str) -> bool:
    """Return whether a name is one of a run's checkpoints (see `name_of`)."""
    return name.startswith(_NAME)


def key_of(name: str) -> str:
    """Return the key of the run whose checkpoints have a name."""
    return name.removeprefix(_NAME)


def kept(store: Store) -> list[Kept]:
    """Return what is kept of each run."""
    found = []
    for folder in sorted((store.root / "checkpoints").glob("*")):
        places = tuple(sorted(_places(folder)))
        try:
            note = _read_manifest(folder / str(places[-1]))["note"] if places else {}
            used = max((folder / str(place)).stat().st_mtime for place in places) if places else 0.0
            found.append(Kept(folder.name, places, folder_size(folder), note, used))
        except FileNotFoundError:  # removed meanwhile
            continue
        except (OSError, ValueError, KeyError, TypeError):
            found.append(Kept(folder.name, places, folder_size(folder), {}, 0.0))
    return found


def furthest(store: Store, key: str, share: float) -> float:
    """Return which share of a run is done already, by its checkpoints; nothing is checked.

    Args:
        store: The store.
        key: Of the whole run.
        share: Of the whole run that is to be done: later checkpoints are of no use.
    """
    folder, best = folder_of(store, key), 0.0
    for place in _places(folder):
        try:
            done = place / _read_manifest(folder / str(place))["total"]
        except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
            continue
        if done <= share * (1 + 1e-9):
            best = max(best, done)
    return best


def remove(store: Store, key: str) -> bool:
    """Remove all checkpoints of a run whose lock is held; False: there are none."""
    folder = folder_of(store, key)
    with store.stage() as stage:
        try:
            folder.rename(stage / "checkpoints")
        except FileNotFoundError:
            return False
    return True


def lock(store: Store, key: str) -> AbstractContextManager[None]:
    """Return the lock of a run that is not running now.

    Raises:
        filelock.Timeout: On entering it: the run is running.
    """
    return store.lock(_lock_of(key), wait=False)


def verify(store: Store) -> None:
    """Remove every damaged checkpoint, with a note in ``store.faults``; those in use are left."""
    from filelock import Timeout

    for each in kept(store):
        try:
            with lock(store, each.key):
                for _ in StoredCheckpoints(store, each.key, each.note).at_most(_LAST):
                    pass
        except Timeout:
            continue


_LAST = 1 << 62


def _lock_of(key: str) -> str:
    return f"{key}.run"


def _places(folder: Path) -> list[int]:
    try:
        return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
    except FileNotFoundError:
        return []


def _read_manifest(folder: Path) -> dict[str, Json]:
    manifest = read_json(folder / _MANIFEST)
    if not isinstance(manifest, dict) or manifest["schema"] != _SCHEMA:
        raise ValueError(f"its {_MANIFEST} is of another version")
    return manifest


def _stays(folder: Path) -> bool:
    try:
        return bool(_read_manifest(folder)["stays"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _read(folder: Path, key: str) -> tuple[Checkpoint, dict[str, Json]]:
    """Return a checkpoint whose files are those that its manifest lists.

    Raises:
        OSError: A file is missing, or cannot be read.
        ValueError: Something is not what was written.
    """
    manifest = _read_manifest(folder)
    if manifest["key"] != key or str(manifest["place"]) != folder.name:
        raise ValueError("it is of another run")
    files = {file.name for file in folder_files(folder)} - {_MANIFEST}
    if files != set(manifest["files"]):
        raise ValueError("its files are not those that were written")
    for name, told in manifest["files"].items():
        if _digest(folder / name) != told:
            raise ValueError(f"the content of {name} is not what was written")
    return Checkpoint(manifest["place"], manifest["total"], folder), manifest


def _digest(file: Path) -> str:
    with open(file, "rb") as source:
        return "sha256:" + hashlib.file_digest(source, "sha256").hexdigest()


def _fsync(file: Path) -> None:
    with open(file, "rb") as handle:
        os.fsync(handle.fileno())
