"""What jobs print and report, into one stream while they run."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from paretune.core.progress import Progress
from paretune.core.protocol import Described, Progressed

_EVERY_S = 1.0


class LiveLog:
    """Writes the logs of jobs, and their progress as messages, into a stream.

    Args:
        stream: Takes both; if it is closed, what follows is left out.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._shown = 0.0

    def begun(self, message: Described) -> None:
        """Write that the worker began: what it is."""
        self._write(message.line())

    def progress(self, id: int, progress: Progress) -> None:
        """Write a message, at most one each second."""
        now = time.monotonic()
        if now - self._shown >= _EVERY_S:
            self._shown = now
            self._write(Progressed(id, progress).line())

    @contextmanager
    def following(self, log: Path) -> Iterator[None]:
        """Write what is appended to a job's log, to its last line at the end of the context."""
        ended = threading.Event()
        follower = threading.Thread(target=self._follow, args=(log, ended), daemon=True)
        follower.start()
        try:
            yield
        finally:
            ended.set()
            follower.join()

    def _follow(self, log: Path, ended: threading.Event) -> None:
        with open(log, "rb") as source:
            rest, last = b"", False
            while not last:
                last = ended.wait(_EVERY_S)
                whole, line_end, rest = (rest + source.read()).rpartition(b"\n")
                self._write(whole + line_end)
            self._write(rest and rest + b"\n")

    def _write(self, content: bytes) -> None:
        if content:
            with self._lock, contextlib.suppress(OSError, ValueError):
                self._stream.write(content)
                self._stream.flush()
