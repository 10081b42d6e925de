"""The part of a shared folder that belongs to one search, and the removal of what others left.

::

    FOLDER/search-ID/owner       which process owns it; written again every minute

File locks do not hold between machines on every file system. So a search is known to have ended by
its process, if that ran on this machine, or else by an owner file that is old. Its age is taken
from the times of the folder's own file system, whose clock may be another one than this machine's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import uuid
from pathlib import Path

import psutil

from paretune.core.errors import UsageError
from paretune.core.jsontools import Json, read_json
from paretune.targets.device.fingerprint import boot_id

_PREFIX = "search-"
_OWNER = "owner"
_SIGNED_EVERY_S = 60.0
_SILENT_S = 3600.0
"""A search on another machine that has not signed for so long has ended."""
_ENDS_WITHIN_S = 5.0
_HINT = (
    "`shared:` is a folder that this machine and all hosts have at the same path, and can write. "
    "Mount it, or leave `shared:` out: files then go from host to host."
)


class SharedPlace:
    """A folder of one search in a folder that several machines share.

    Args:
        folder: The shared folder.

    Attributes:
        folder: The shared folder.
        path: The search's own one in it, while it is open.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / f"{_PREFIX}{uuid.uuid4().hex}"
        self._closed = threading.Event()
        self._signing: threading.Thread | None = None

    def open(self) -> None:
        """Make the search's folder, and remove those of searches that have ended.

        It may be called again.

        Raises:
            UsageError: The shared folder is not there, or cannot be written.
        """
        if self._signing is not None:
            return
        if not self.folder.is_dir():  # it is not made: perhaps it is not mounted
            raise UsageError(f"there is no folder {self.folder} on this machine", hint=_HINT)
        try:
            self._sign()
        except OSError as error:
            raise UsageError(
                f"the folder {self.folder} cannot be written on this machine: {error.strerror}",
                hint=_HINT,
            ) from error
        self._signing = threading.Thread(target=self._stay, daemon=True)
        self._signing.start()
        self._sweep()

    def close(self) -> None:
        """Remove the search's folder; may be called again."""
        self._closed.set()
        if self._signing is not None:
            self._signing.join(_ENDS_WITHIN_S)
            shutil.rmtree(self.path, ignore_errors=True)

    def wrong(self, host: str, why: str) -> UsageError:
        """Return the error that a host cannot use the folder.

        Args:
            host: Its name.
            why: What is wrong.
        """
        return UsageError(f"{host}: files do not travel through {self.folder}: {why}", hint=_HINT)

    def _stay(self) -> None:
        while not self._closed.wait(_SIGNED_EVERY_S):
            with contextlib.suppress(OSError):
                self._sign()

    def _sign(self) -> None:
        self.path.mkdir(exist_ok=True)
        written = self.path / f".{_OWNER}"
        written.write_text(json.dumps(_this_process()), encoding="utf-8")
        written.replace(self.path / _OWNER)

    def _sweep(self) -> None:
        """Remove the folders of searches that have ended; what cannot be removed stays."""
        with contextlib.suppress(OSError):
            now = (self.path / _OWNER).stat().st_mtime
            for place in self.folder.glob(f"{_PREFIX}*"):
                if place != self.path and not _is_owned(place, now):
                    shutil.rmtree(place, ignore_errors=True)


def _this_process() -> dict[str, Json]:
    return {
        "system": _system(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
    }


def _system() -> str:
    """Return what processes have their ids from; empty: unknown."""
    try:
        return f"{boot_id()} {os.readlink('/proc/self/ns/pid')}" if boot_id() else ""
    except OSError:
        return ""


def _is_owned(place: Path, now: float) -> bool:
    """Return whether the search that made a folder may still run.

    Args:
        place: The folder.
        now: The time, by the clock of its file system.
    """
    owner = place / _OWNER
    try:
        signed = owner.stat().st_mtime if owner.exists() else place.stat().st_mtime
        if now - signed > _SILENT_S:
            return False
        said = read_json(owner)
        if not said["system"] or said["system"] != _system():
            return True
        started: float = said["started"]
        return abs(psutil.Process(said["pid"]).create_time() - started) < 1.0
    except psutil.NoSuchProcess:
        return False
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):  # it is being made, say
        return True
