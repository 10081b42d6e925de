"""Folders that are being written: each under a lock, so that what a killed process left is found.

A folder is in use as long as somebody holds its lock, and the kernel lets go of a lock when its
holder dies. Whoever comes next can therefore tell what was left behind, at once and without
guessing by age.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_SUFFIX = ".stage"


class Staging:
    """Hands out empty folders on one file system, and removes those that nobody holds any more.

    Args:
        folders: Where the folders lie; made if absent.
        locks: Where their locks lie; made if absent.
    """

    def __init__(self, folders: Path, locks: Path) -> None:
        self._folders = folders
        self._locks = locks
        for place in (folders, locks):
            place.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Yield an empty folder; what is left of it at the end is removed."""
        name = uuid.uuid4().hex
        path = self._folders / name
        # The lock comes first and goes last: a folder without one would never be found again.
        with FileLock(self._lock_file(name)):
            try:
                path.mkdir()
                yield path
            finally:
                shutil.rmtree(path, ignore_errors=True)
                self._lock_file(name).unlink(missing_ok=True)

    def _lock_file(self, name: str) -> Path:
        return self._locks / f"{name}{_SUFFIX}"

    def sweep(self) -> None:
        """Remove the folders whose lock nobody holds."""
        for file in self._locks.glob(f"*{_SUFFIX}"):
            try:
                with FileLock(file, blocking=False):
                    shutil.rmtree(self._folders / file.stem, ignore_errors=True)
                    file.unlink(missing_ok=True)
            except Timeout:
                continue  # in use
