"""Processes of which nothing is trusted: neither that they end, nor how much they write."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Self, cast

MOST_BYTES = 1 << 20
"""Of each of the two streams that are kept."""
_GRACE_S = 1.0
_LAST_BYTES = 2000
_LAST_WORDS_WITHIN_S = 2.0
"""What a process has written is read by then, if it has ended."""


class TooMuchError(Exception):
    """The command wrote more than is kept."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: Its exit status.
        output: What it wrote to its standard output.
        errors: What it wrote to its standard error.
    """

    status: int
    output: bytes
    errors: bytes


def run_bounded(command: list[str], given: bytes, seconds: float) -> Ended:
    """Run a command in a session of its own, to its end.

    Args:
        command: It and its arguments.
        given: Its standard input.
        seconds: How long it may take.

    Raises:
        TimeoutError: It took longer; it was killed.
        TooMuchError: It wrote more than `MOST_BYTES`; it was killed.
        OSError: It cannot be started.
    """
    end = time.monotonic() + seconds
    with tempfile.TemporaryFile() as source:
        source.write(given)
        source.seek(0)
        process = subprocess.Popen(
            command,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    assert process.stdout is not None
    assert process.stderr is not None
    readers = [_Reader(process.stdout, process), _Reader(process.stderr, process)]
    for reader in readers:
        reader.join(max(0.0, end - time.monotonic()))
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, end - time.monotonic()))
    if process.returncode is None or any(reader.is_alive() for reader in readers):
        kill_session(process)
        process.wait()
        for reader in readers:
            reader.join(_GRACE_S)
        if not any(reader.too_much for reader in readers):
            raise TimeoutError
    if any(reader.too_much for reader in readers):
        raise TooMuchError
    return Ended(process.returncode, *(reader.found for reader in readers))


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a session, and what it started in it."""
    if process.poll() is None:  # else its number may be another one's
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)


class _Reader(threading.Thread):
    """Reads a stream of a process; if it is too much, the process is killed."""

    def __init__(self, stream: IO[bytes], process: subprocess.Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self._stream, self._process = stream, process
        self.found = b""
        self.too_much = False
        self.start()

    def run(self) -> None:
        """Read to the end."""
        with contextlib.suppress(OSError, ValueError), self._stream:
            self.found = self._stream.read(MOST_BYTES + 1)
            if len(self.found) > MOST_BYTES:
                self.too_much = True
                kill_session(self._process)


class LastWords:
    """Keeps the end of what a process writes to a stream, however much that is.

    Args:
        stream: It is closed at its end.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._kept = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def text(self) -> str:
        """Return it; if the process has ended, with its last byte."""
        self._reader.join(_LAST_WORDS_WITHIN_S)
        return self._kept.decode(errors="replace")

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._stream as stream:
            while piece := os.read(stream.fileno(), 1 << 16):
                self._kept = (self._kept + piece)[-_LAST_BYTES:]


class Stalled:
    """Calls a function if nothing moves for a while; a context manager.

    Args:
        seconds: How long; it is noticed within half as long again.
        then: What is called, once.

    Attributes:
        happened: Whether it was called.
    """

    def __init__(self, seconds: float, then: Callable[[], None]) -> None:
        self._seconds, self._then = seconds, then
        self._moved = time.monotonic()
        self._ended = threading.Event()
        self.happened = False
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def watched(self, stream: IO[bytes]) -> IO[bytes]:
        """Return a stream of which each write, and each read, counts as a move."""
        return cast(IO[bytes], _Watched(stream, self))

    def moved(self) -> None:
        """Note that something moves."""
        self._moved = time.monotonic()

    def __enter__(self) -> Self:
        self.moved()
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._ended.wait(self._seconds / 2):
            if time.monotonic() - self._moved > self._seconds:
                self.happened = True
                self._then()
                return


class _Watched:
    """The part of a stream that is used to send and to receive files."""

    def __init__(self, stream: IO[bytes], watch: Stalled) -> None:
        self._stream, self._watch = stream, watch

    def write(self, data: bytes) -> int:
        """Write, and note it."""
        written = self._stream.write(data)
        self._watch.moved()
        return written

    def read(self, size: int = -1) -> bytes:
        """Read, and note it."""
        found = self._stream.read(size)
        self._watch.moved()
        return found
