"""What a job holds in memory as it ends."""

from __future__ import annotations

import time

import psutil

from paretune.targets.process_tree import memory_of

_SHORT_S = 0.2
"""Jobs that run for longer were measured meanwhile (`paretune.targets.launchers.process`)."""
_LITTLE = 32 << 20


class MemoryHeld:
    """Reads this process's memory at the end of its job.

    What it shares with other processes takes the system milliseconds to tell, of a copy of a
    process with all runtimes as long as a short job. For a short job that has taken little it is
    estimated: half of what it was forked with, which the server shares, and what came since.

    Args:
        forked: Whether this process is a copy of a server.
    """

    def __init__(self, *, forked: bool) -> None:
        self._began = time.monotonic()
        self._process = psutil.Process()
        self._resident: int = self._process.memory_info().rss
        self._share = 0.5 if forked else 1.0

    def read(self) -> int:
        """Return the bytes that it holds now."""
        grown = self._process.memory_info().rss - self._resident
        if time.monotonic() - self._began < _SHORT_S and grown < _LITTLE:
            return int(self._share * self._resident) + max(0, grown)
        return memory_of(self._process)
