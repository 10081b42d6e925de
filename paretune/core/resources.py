"""How many cores and how much memory this process may use: affinity and container limits count."""

from __future__ import annotations

import math
import os
import re
from functools import cache
from pathlib import Path

import psutil


def usable_cores() -> list[int]:
    """Return the numbers of the logical cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def logical_cores() -> int:
    """Return how many logical cores may be used: affinity and the container's quota count."""
    quota = _cpu_quota()
    usable = len(usable_cores())
    return usable if quota is None else max(1, min(usable, math.ceil(quota)))


def physical_cores() -> int:
    """Return how many physical cores may be used: two threads of one core count once."""
    siblings = set()
    for core in usable_cores():
        path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        try:
            siblings.add(path.read_text(encoding="ascii").strip())
        except OSError:
            return min(psutil.cpu_count(logical=False) or 1, logical_cores())
    return min(len(siblings), logical_cores())


def _cpu_quota() -> float | None:
    """Return how many cores' time the container may use: the strictest limit on the way up."""
    found = []
    for folder in _cgroup_folders("cpu"):
        try:
            if (folder / "cpu.max").is_file():
                quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
            else:
                quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
                period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        if quota.isdigit() and period.isdigit() and int(quota) > 0 and int(period) > 0:
            found.append(int(quota) / int(period))
    return min(found, default=None)


def _number(folder: Path, v2: str, v1: str) -> int | None:
    """Return a number that a group's folder gives; None: it gives none, or no limit."""
    for name in (v2, v1):
        try:
            text = (folder / name).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        # Version 1 writes "no limit" as the largest number of pages.
        if text.isdigit() and int(text) < 1 << 60:
            return int(text)
    return None


@cache
def _cgroup_folders(controller: str) -> tuple[Path, ...]:
    """Return where this process's limits of one kind may stand: its group, and all above it."""
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="surrogateescape")
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ()
    return tuple(f for f in cgroup_folders(controller, groups, mounts) if f.is_dir())


def cgroup_folders(controller: str, groups: str, mounts: str) -> list[Path]:
    """Return the folders of the groups that a process is in, the innermost first.

    In a container the path of the group is often that outside of it: where it does not lie below
    what is mounted, what is mounted is the container's own group.

    Args:
        controller: ``cpu`` or ``memory``.
        groups: The text of ``/proc/PID/cgroup``: a line a hierarchy, version 2 has number 0.
        mounts: The text of ``/proc/PID/mountinfo``.
    """
    roots: dict[str, tuple[str, Path]] = {}
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, *_) = before.split(), after.split()
        if kind == "cgroup2":
            roots.setdefault("", (fields[3], Path(_unescaped(fields[4]))))
        elif kind == "cgroup":
            for name in after.split()[-1].split(","):
                roots.setdefault(name, (fields[3], Path(_unescaped(fields[4]))))
    found: list[Path] = []
    for line in groups.splitlines():
        number, controllers, place = line.split(":", 2)
        version2 = number == "0" and not controllers
        if not version2 and controller not in controllers.split(","):
            continue
        root, mounted = roots.get("" if version2 else controller, ("/", Path("/sys/fs/cgroup")))
        inner = Path(place).parts
        outer = Path(_unescaped(root)).parts
        below = inner[len(outer) :] if inner[: len(outer)] == outer else ()
        parts = () if ".." in below else below
        found += [mounted.joinpath(*parts[:n]) for n in range(len(parts), -1, -1)]
    return found


def _unescaped(text: str) -> str:
    r"""Return a field of mountinfo, in which spaces stand as ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), text)


def total_memory() -> int:
    """Return the memory that may be used, in bytes: the machine's, or its container's limit."""
    limit = _memory_limit()
    total = psutil.virtual_memory().total
    return total if limit is None else min(total, limit)


def free_memory() -> int:
    """Return the memory that is free now, in bytes: the machine's, or its container's."""
    free = psutil.virtual_memory().available
    for folder in _cgroup_folders("memory"):
        limit = _number(folder, "memory.max", "memory.limit_in_bytes")
        used = _number(folder, "memory.current", "memory.usage_in_bytes")
        if limit is not None:
            free = min(free, limit - (used or 0))
    return max(0, free)


def _memory_limit() -> int | None:
    found = (
        _number(folder, "memory.max", "memory.limit_in_bytes")
        for folder in _cgroup_folders("memory")
    )
    return min((limit for limit in found if limit is not None), default=None)
