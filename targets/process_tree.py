"""A job's process and all its descendants: how much memory they hold, and how they are ended."""

from __future__ import annotations

import contextlib
import signal
from typing import Protocol

import psutil


class Child(Protocol):
    """A process that was started for a job (`ForkedChild`, `SpawnedChild`)."""

    @property
    def pid(self) -> int | None:
        """Its process id; None before it has started."""

    @property
    def returncode(self) -> int | None:
        """Its exit code, negative for a signal; None if it runs or is unknown."""

    def started(self, timeout: float) -> bool:
        """Wait until it has started, or can start no more."""

    def wait(self, timeout: float) -> bool:
        """Wait until it has ended; False if it has not by then."""

    def close(self) -> None:
        """Let go of it."""


class ProcessTree:
    """A process and its descendants.

    Members are `psutil.Process` objects, which know a process from a later one of the same number.

    Args:
        child: The root, which has started.
    """

    def __init__(self, child: Child) -> None:
        self._child = child
        self._seen: set[psutil.Process] = set()
        # Gone already: there is nothing to watch.
        with contextlib.suppress(psutil.NoSuchProcess):
            self._seen.add(psutil.Process(child.pid))

    def members(self) -> set[psutil.Process]:
        """Return all that are alive, those seen earlier and orphaned since included."""
        # One that is gone has no children any more, and asking for them reads all of /proc.
        self._seen = {process for process in self._seen if process.is_running()}
        for process in list(self._seen):
            with contextlib.suppress(psutil.NoSuchProcess):
                self._seen.update(process.children(recursive=True))
        self._seen = {process for process in self._seen if process.is_running()}
        return self._seen

    def memory(self) -> int:
        """Return the bytes that the tree holds in memory and swap.

        On Linux a page that several processes share counts once among them (proportional set
        size): a child forked from a server that has imported 400 MB does not start with 400 MB.
        Elsewhere it is the sum of the resident sizes.
        """
        return sum(memory_of(process) for process in self.members())

    def ask_to_end(self) -> None:
        """Ask all to end, and wait for none."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill all at once and wait until the root is gone."""
        self._signal(None)
        self._child.wait(5.0)

    def _signal(self, number: int | None) -> None:
        for process in self.members():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill() if number is None else process.send_signal(number)


def memory_of(process: psutil.Process) -> int:
    """Return the bytes that one process holds in memory and swap (see `ProcessTree.memory`)."""
    try:
        info = process.memory_full_info()
        held: int = info.pss + info.swap if hasattr(info, "pss") else info.rss
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # ended, or runs as another user
        return 0
    return held
