"""Copies of files in Azure on this machine: continued after an interruption, checked before use.

::

    FOLDER/content/NAME      the files
    FOLDER/copies.json       etag, size and time of each, as it was copied
    FOLDER/parts/KEY         what has arrived of a file; the key is that of its name and its etag

A copy is used while Azure gives the same etag and size, and the file here is the one that was
written. Otherwise it is copied again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from paretune.azure.blobs import Blob, Datastore
from paretune.core.errors import TransientError, UsageError
from paretune.core.jsontools import Json, digest, read_json, write_json
from paretune.core.used_folders import hold, remove_unused

Shown = Callable[[str, int, int], None]
"""Is called with a file's name, the bytes that are here, and those of the whole file."""

FOLDER = "azure"
"""Of a store: it has the copies."""
_CONTENT, _NOTES, _PARTS = "content", "copies.json", "parts"
_TRIES = 3
_LEAVES_FREE = 100_000_000


def copied(source: Datastore, blobs: Mapping[str, Blob], folder: Path, shown: Shown) -> Path:
    """Copy files that are not here yet; returns the folder that has them, and no others.

    Args:
        source: Where they are.
        blobs: By the name that each gets.
        folder: Takes them; several processes may use it. It stays until this process ends.
        shown: Is called as they arrive.

    Raises:
        UsageError: A name leads out of the folder, or there is no room.
        TransientError: The service is not reached; what has arrived is kept.
        CredentialsError: They may not be read.
    """
    for name in blobs:
        _check_name(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while not hold(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            return _Copy(source, folder, shown).all(blobs)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written: {error.strerror or error}",
            hint="Name another folder by $PARETUNE_STORE.",
        ) from error


def remove_unused_copies(store: Path, older_than_s: float = 0.0) -> None:
    """Remove copies in a store that no process uses.

    Args:
        store: The store.
        older_than_s: Only those that were not used for so many seconds.
    """
    remove_unused(store / FOLDER, older_than_s)


class _Copy:
    """Copies into one folder."""

    def __init__(self, source: Datastore, folder: Path, shown: Shown) -> None:
        self._source, self._folder, self._shown = source, folder, shown
        self._content, self._parts = folder / _CONTENT, folder / _PARTS
        self._notes = _read_notes(folder / _NOTES)

    def all(self, blobs: Mapping[str, Blob]) -> Path:
        lacking = {name: blob for name, blob in blobs.items() if not self._has(name, blob)}
        self._check_room(lacking.values())
        for name, blob in lacking.items():
            place = self._content / name
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._arrived(name, blob), place)
            self._notes[name] = _note(blob, place)
            write_json(self._folder / _NOTES, self._notes)
        shutil.rmtree(self._parts, ignore_errors=True)
        for file in list(self._content.rglob("*")):
            if file.is_file() and file.relative_to(self._content).as_posix() not in blobs:
                file.unlink()
        return self._content

    def _has(self, name: str, blob: Blob) -> bool:
        """Return whether the copy of a file is there, and is of what Azure has now."""
        place = self._content / name
        return place.is_file() and self._notes.get(name) == _note(blob, place)

    def _part(self, name: str, blob: Blob) -> Path:
        key = digest([name, blob.etag, blob.size]).removeprefix("sha256:")[:32]
        return self._parts / key

    def _check_room(self, blobs: Any) -> None:
        wanted = sum(blob.size for blob in blobs)
        free = shutil.disk_usage(self._folder).free - _LEAVES_FREE
        if wanted > free:
            raise UsageError(
                f"{self._folder}: {wanted / 1e6:,.0f} MB are to be copied from Azure, and "
                f"{max(0, free) / 1e6:,.0f} MB are free",
                hint="Make room, or name a folder on another disk by $PARETUNE_STORE.",
            )

    def _arrived(self, name: str, blob: Blob) -> Path:
        """Return the file with the whole content; it is continued where it was interrupted."""
        part = self._part(name, blob)
        part.parent.mkdir(exist_ok=True)
        for left in reversed(range(_TRIES)):
            try:
                self._continue(name, blob, part)
                return part
            except TransientError as error:
                if not left:
                    raise TransientError(
                        f"{error.message} ({part.stat().st_size / 1e6:,.1f} of "
                        f"{blob.size / 1e6:,.1f} MB are here)",
                        hint="Run the same command again: it continues.",
                    ) from error
        raise AssertionError

    def _continue(self, name: str, blob: Blob, part: Path) -> None:
        with open(part, "ab") as file:
            done = file.tell()
            if done > blob.size:
                file.truncate(0)
                done = 0
            self._shown(name, done, blob.size)
            for piece in self._source.pieces(blob, done):
                file.write(piece)
                done += len(piece)
                self._shown(name, done, blob.size)
            file.flush()
            os.fsync(file.fileno())
        if done != blob.size:
            raise TransientError(f"{name}: {done} bytes arrived, expected {blob.size}")


def _check_name(name: str) -> None:
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or any(p in ("", ".", "..") for p in parts):
        raise UsageError(f"the file {name[:80]!r} in Azure has a name that is not copied")


def _note(blob: Blob, place: Path) -> dict[str, Json]:
    found = place.stat()
    if found.st_size != blob.size:
        return {}
    return {"etag": blob.etag, "size": blob.size, "mtime_ns": found.st_mtime_ns}


def _read_notes(file: Path) -> dict[str, Any]:
    try:
        found = read_json(file)
    except (OSError, ValueError):  # none yet, or damaged: everything is copied again
        return {}
    return found if isinstance(found, dict) else {}
