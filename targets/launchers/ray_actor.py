"""What runs on a host of a Ray cluster: an actor that starts commands and passes on their streams.

Ray sends this module to the host by value, so only the standard library is imported: neither
paretune nor its packages need to be installed for the interpreter of Ray's workers.

A command is started as a session of its own. If the actor's process is killed, the command's
standard input closes, which ends the agent (`paretune.targets.agent`) and its jobs.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import IO

PIECE = 1 << 16
"""Bytes of one argument or result: Ray sends what is smaller than 100 kB directly to the other
process, and puts the rest into its object store."""
PIECES = 8
"""Of one call."""
OUTPUT, ERRORS, EXIT = b"o", b"e", b"x"
"""The first byte of what a command says: its streams, and its exit status as text."""
RAYS_PYTHON = "Ray's Python"
"""In a command, stands for the interpreter of Ray's workers on that host."""
_WAITING = 64
"""Pieces of a stream that wait; then its writer waits, too."""
_ENDS_WITHIN_S = 15.0
_CHANGED = ("OMP_NUM_THREADS",)
"""Variables that Ray sets in its workers."""
_DROPPED = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV")
"""Variables that make another interpreter look for packages where Ray's does."""


class _Command:
    """A command that runs."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        self.inbox: queue.Queue[bytes] = queue.Queue(_WAITING)
        self.said: queue.Queue[bytes] = queue.Queue(_WAITING)
        self.given_up = False
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        readers = [
            threading.Thread(target=self._read, args=each, daemon=True)
            for each in ((self.process.stdout, OUTPUT), (self.process.stderr, ERRORS))
        ]
        for each in readers:
            each.start()
        threading.Thread(target=self._write, daemon=True).start()
        threading.Thread(target=self._wait, args=(readers,), daemon=True).start()

    def _write(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError), self.process.stdin as stream:
            while piece := self.inbox.get():
                stream.write(piece)
                if self.inbox.empty():
                    stream.flush()
            return
        while self.inbox.get():  # it reads no more: what still comes is dropped
            pass

    def _read(self, stream: IO[bytes], kind: bytes) -> None:
        with contextlib.suppress(OSError), stream:
            while piece := os.read(stream.fileno(), PIECE):
                self._say(kind + piece)

    def _wait(self, readers: list[threading.Thread]) -> None:
        for each in readers:
            each.join()
        self._say(EXIT + str(self.process.wait()).encode())

    def _say(self, frame: bytes) -> None:
        while not self.given_up:
            with contextlib.suppress(queue.Full):
                self.said.put(frame, timeout=1.0)
                return

    def end(self) -> None:
        """Close its standard input; kill it if it goes on."""
        self.given_up = True
        with contextlib.suppress(queue.Full):
            self.inbox.put(b"", timeout=1.0)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_ENDS_WITHIN_S)
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class HostWorker:
    """The actor of one host; its methods may run beside each other."""

    def __init__(self) -> None:
        self._commands: dict[int, _Command] = {}
        self._environment, self._niceness = _of_the_node()

    def facts(self) -> dict[str, int]:
        """Return the ids of this process and of Ray's on this node."""
        return {"pid": os.getpid(), "raylet": _raylet()}

    def start(self, number: int, command: list[str]) -> str | None:
        """Start a command.

        Args:
            number: What the other methods call it.
            command: It and its arguments.

        Returns:
            Why it cannot be started; None: it runs.
        """
        words = [sys.executable if word == RAYS_PYTHON else word for word in command]
        with contextlib.suppress(OSError):  # no permission: it keeps the priority of Ray's workers
            os.setpriority(os.PRIO_PROCESS, 0, self._niceness)  # of this thread; children inherit
        blocked = signal.pthread_sigmask(signal.SIG_SETMASK, ())  # likewise; Ray blocks SIGINT
        try:
            self._commands[number] = _Command(words, self._environment)
        except OSError as error:
            return f"{words[0]} cannot be started: {error.strerror}"
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return None

    def write(self, number: int, seconds: float, *pieces: bytes) -> int:
        """Write pieces to a command's standard input; an empty one closes it.

        Returns:
            How many were taken within so many seconds.
        """
        command, end = self._commands.get(number), time.monotonic() + seconds
        if command is None:  # it was ended: nobody reads any more
            return len(pieces)
        for taken, piece in enumerate(pieces):
            try:
                command.inbox.put(piece, timeout=max(0.0, end - time.monotonic()))
            except queue.Full:
                return taken
        return len(pieces)

    def read(self, number: int, seconds: float) -> tuple[bytes, ...]:
        """Return what a command says next; empty values if that is less, or nothing in time."""
        command = self._commands.get(number)
        if command is None:
            return (EXIT + b"255", *(b"",) * (PIECES - 1))
        said, frames = command.said, list[bytes]()
        with contextlib.suppress(queue.Empty):
            frames.append(said.get(timeout=seconds))
            while len(frames) < PIECES:
                frames.append(said.get_nowait())
        return tuple(frames) + (b"",) * (PIECES - len(frames))

    def end(self, number: int) -> None:
        """End a command, if it still runs, and forget it."""
        command = self._commands.pop(number, None)
        if command is not None:
            command.end()


def _raylet() -> int:
    """Return the id of the node's process, which starts the workers."""
    return int(os.environ.get("RAY_RAYLET_PID") or os.getppid())


def _of_the_node() -> tuple[dict[str, str], int]:
    """Return this process's environment and priority, without what Ray has changed in them."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("RAY_") and key not in _DROPPED
    }
    niceness, started_with = 0, dict[str, str]()
    with contextlib.suppress(OSError):
        niceness = os.getpriority(os.PRIO_PROCESS, _raylet())
        with open(f"/proc/{_raylet()}/environ", "rb") as file:
            for entry in file.read().split(b"\0"):
                name, _, value = os.fsdecode(entry).partition("=")
                started_with[name] = value
    for key in _CHANGED:
        environment.pop(key, None)
        if key in started_with:
            environment[key] = started_with[key]
    return environment, niceness
