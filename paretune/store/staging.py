"""Folders that are being written, each under a lock, so that leftovers are found.

A folder is in use as long as a process holds its lock, and the kernel releases a lock when its
process ends. Another process can therefore detect leftovers at once, without guessing by age.
"""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from paretune.core.folders import remove_files

_SUFFIX = ".stage"


class Staging:
    """Hands out empty folders on one file system, and removes those that no process holds.

    Args:
        folders: Parent of the folders; created if missing.
        locks: Folder of their locks; created if missing.
    """

    def __init__(self, folders: Path, locks: Path) -> None:
        self._folders = folders
        self._locks = locks
        self._leaving: list[threading.Thread] = []
        for place in (folders, locks):
            place.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def folder(self, *, wait: bool = True) -> Iterator[Path]:
        """Yield an empty folder; what is left of it at the end is removed.

        Args:
            wait: False: only its files are removed at once; the folders, which takes some systems
                milliseconds each, by a thread that `sweep` waits for.
        """
        name = uuid.uuid4().hex
        path = self._folders / name
        # The lock comes first and goes last: a folder without one would never be found again.
        lock = FileLock(self._lock_file(name), thread_local=False)
        lock.acquire()
        try:
            path.mkdir()
            yield path
        finally:
            if wait:
                self._remove(name, lock)
            else:
                remove_files(path)
                thread = threading.Thread(target=self._remove, args=(name, lock))
                self._leaving = [*(each for each in self._leaving if each.is_alive()), thread]
                thread.start()

    def _remove(self, name: str, lock: BaseFileLock) -> None:
        try:
            shutil.rmtree(self._folders / name, ignore_errors=True)
            self._lock_file(name).unlink(missing_ok=True)
        finally:
            lock.release()

    def _lock_file(self, name: str) -> Path:
        return self._locks / f"{name}{_SUFFIX}"

    def sweep(self) -> None:
        """Remove the folders whose lock no process holds."""
        for thread in self._leaving:
            thread.join()
        for file in self._locks.glob(f"*{_SUFFIX}"):
            try:
                with FileLock(file, blocking=False):
                    shutil.rmtree(self._folders / file.stem, ignore_errors=True)
                    file.unlink(missing_ok=True)
            except Timeout:
                continue  # in use
