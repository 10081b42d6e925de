"""Who else used the processor while something was timed.

The system's counters are read twice, before and after: nothing runs in between. What the processor
did and the job's own processes did not, others did.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from paretune.core.descendants import descendants
from paretune.core.details import CpuTaken
from paretune.core.measurement import Measurement
from paretune.core.resources import usable_cores

_TICK_S = 0.01
"""The counters' step on Linux; what is smaller than a step a processor is not seen."""
_TOLERATED = 0.05
"""Share of the job's cores that may be missing before it counts as hit.

A machine at rest shows less than 2 %; at 5 % the medians of a job on all cores begin to move."""


@dataclass(frozen=True)
class Counters:
    """Seconds that were counted up to a moment, over the processors that may be used.

    Attributes:
        at: The moment, in seconds of a clock that never goes back.
        busy: Seconds that the processors worked for anybody on this machine.
        stolen: Seconds that they would have worked, and the hypervisor gave to other machines.
        job: Seconds that they worked for the job, its ended processes included.
        processors: How many there are.
    """

    at: float
    busy: float
    stolen: float
    job: float
    processors: int


@dataclass(frozen=True)
class Interference:
    """CPU time used by others, as shares of all CPU time (0 to 1).

    Attributes:
        others: Used by other programs on this machine.
        stolen: Used by other machines on the same hardware.
    """

    others: float = 0.0
    stolen: float = 0.0

    def was_hit(self, threads: int, cores: int) -> bool:
        """Return whether a job cannot have had the cores that it asked for.

        Args:
            threads: How many the job runs with.
            cores: How many physical cores the job could choose from.
        """
        wanted = min(threads, cores)
        left = cores * (1 - self.others - self.stolen)
        return left < wanted * (1 - _TOLERATED)

    def noted(self, measured: Mapping[str, Measurement]) -> dict[str, Measurement]:
        """Return measurements, by metric, with the CPU time that others used meanwhile."""
        taken = CpuTaken(self.others, self.stolen)
        return {name: m.noting(interference=taken) for name, m in measured.items()}

    def __str__(self) -> str:
        stolen = f", other virtual machines {self.stolen:.0%}" if self.stolen >= 0.005 else ""
        return f"other programs used {self.others:.0%} of the processor{stolen}"


def between(before: Counters, after: Counters) -> Interference:
    """Return the CPU time that others used between two readings of the counters."""
    whole = (after.at - before.at) * after.processors
    if whole <= 0:
        return Interference()
    unseen = _TICK_S * (after.processors + 1)
    busy, job = after.busy - before.busy, after.job - before.job
    others = _share(busy - job - unseen, whole)
    return Interference(others, min(_share(after.stolen - before.stolen, whole), 1.0 - others))


def _share(seconds: float, whole: float) -> float:
    return min(1.0, max(0.0, seconds / whole))


def counters(pid: int | None = None) -> Counters:
    """Read the counters; takes some milliseconds.

    Args:
        pid: The process whose tree is the job's; None: this one. One that is gone has used nothing.
    """
    usable = usable_cores()
    job = _used_by_tree(os.getpid() if pid is None else pid)
    times = psutil.cpu_times(percpu=True)
    if max(usable) < len(times):  # else some are switched off, and numbers shift
        times = [times[number] for number in usable] or times
    working = ("user", "nice", "system", "irq", "softirq")
    return Counters(
        at=time.monotonic(),
        busy=sum(getattr(t, name, 0.0) for t in times for name in working),
        stolen=sum(getattr(t, "steal", 0.0) for t in times),
        job=job,
        processors=len(times),
    )


def _used_by_tree(pid: int) -> float:
    """Return the processor seconds of a process and all its descendants, ended ones included."""
    try:
        root = psutil.Process(pid)
        below = descendants(pid)
        if below is None:
            members = [root, *root.children(recursive=True)]
        else:
            members = [root, *_there(below)]
    except psutil.Error:
        return 0.0
    used = 0.0
    for member in members:
        with contextlib.suppress(psutil.Error):  # ended just now: its parent's count has it
            t = member.cpu_times()
            used += t.user + t.system + t.children_user + t.children_system
    return used


def _there(pids: Iterable[int]) -> Iterator[psutil.Process]:
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            yield psutil.Process(pid)


class Watch:
    """What is seen from its making on.

    Args:
        pid: See `counters`.
    """

    def __init__(self, pid: int | None) -> None:
        self._pid = pid
        self._before = counters(pid)
        self._seen: Interference | None = None

    @property
    def seen(self) -> Interference:
        """CPU time used by others: of the whole watch once it has ended, else up to now."""
        if self._seen is not None:
            return self._seen
        return between(self._before, counters(self._pid))

    def end(self) -> None:
        """End the watch: `seen` stays as it is."""
        self._seen = self.seen


@contextmanager
def watching(pid: int | None = None) -> Iterator[Watch]:
    """Watch the CPU time that others use while the block runs.

    Args:
        pid: The process whose tree does the work that is timed (a fork server); None: this
            process, all its jobs included.
    """
    watch = Watch(pid)
    try:
        yield watch
    finally:
        watch.end()
