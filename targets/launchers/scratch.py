"""Folders for the temporary files of jobs: emptied after a job, and given to a later one.

Removing a folder can take longer than a short job does: on ext4 ``rmdir`` waits for milliseconds.
Files are therefore removed before a job counts as ended, and the empty folders that it left behind
by a thread, in time that is spent waiting.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from paretune.core.folders import remove_files


@dataclass(frozen=True)
class _Held:
    path: Path
    stack: ExitStack
    inode: tuple[int, int, int]


class ScratchFolders:
    """Hands out empty folders, each to one job at a time.

    Args:
        make: Makes a folder; its context removes it. It is entered and left by any thread.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[Path]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._free: list[_Held] = []
        self._left: queue.SimpleQueue[tuple[_Held, list[str]] | None] = queue.SimpleQueue()
        self._remover: threading.Thread | None = None

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Yield an empty folder; at the end no file is left in it."""
        held = self._take()
        try:
            yield held.path
        finally:
            self._remove_later(held, remove_files(held.path))

    def close(self) -> None:
        """Remove every folder; no job may be running."""
        with self._lock:
            remover, self._remover = self._remover, None
        if remover is not None:
            self._left.put(None)
            remover.join()
        with self._lock:
            free, self._free = self._free, []
        for held in free:
            held.stack.close()

    def _take(self) -> _Held:
        with self._lock:
            while self._free:
                held = self._free.pop()
                if _is_as_made(held):
                    return held
                held.stack.close()
        stack = ExitStack()
        path = stack.enter_context(self._make())
        return _Held(path, stack, _inode(path))

    def _remove_later(self, held: _Held, folders: list[str]) -> None:
        if not folders:
            self._keep(held)
            return
        with self._lock:
            if self._remover is None:
                self._remover = threading.Thread(target=self._remove, daemon=True)
                self._remover.start()
        self._left.put((held, folders))

    def _remove(self) -> None:
        while (left := self._left.get()) is not None:
            held, folders = left
            for folder in folders:
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
            self._keep(held)

    def _keep(self, held: _Held) -> None:
        """Have a folder used again, unless the job changed it or something is left in it."""
        if _is_as_made(held):
            with self._lock:
                self._free.append(held)
        else:
            held.stack.close()


def _inode(path: Path) -> tuple[int, int, int]:
    known = path.lstat()
    return known.st_dev, known.st_ino, known.st_mode


def _is_as_made(held: _Held) -> bool:
    """Return whether a folder is empty, and the one that was made, with its permissions."""
    try:
        return _inode(held.path) == held.inode and not any(os.scandir(held.path))
    except OSError:
        return False
