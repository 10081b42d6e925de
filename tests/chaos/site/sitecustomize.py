"""Loaded by every interpreter under test (its folder is on PYTHONPATH): kills at a named point.

The product knows nothing of this. ``os.rename``, ``os.replace`` and ``os.fsync`` are wrapped, and
what they are called with says which durable step it is. Each step is written to a journal; at the
one that ``CHAOS_AT`` names (``outcome:before:2``: just before the second outcome is renamed to its
place) the whole tree of processes below ``CHAOS_ROOT`` gets SIGKILL.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any


def point_of(path: Path) -> str | None:
    """Return the name of the durable step that is about to put a file or folder at this path."""
    if path.parent.name == "objects":
        return "object"
    if path.parent.name == "actions":  # made, or noted on afterwards
        return "note" if path.exists() else "action"
    return {"outcome.json": "outcome", "results.json": "results"}.get(path.name)


def reached(point: str, side: str, what: str = "") -> None:
    """Write a step to the journal, and kill if it is the one."""
    journal = os.environ["CHAOS_JOURNAL"]
    with open(journal, "a", encoding="utf-8") as out:
        out.write(f"{point}:{side} {what}\n")
    wanted, _, number = os.environ.get("CHAOS_AT", "").rpartition(":")
    if wanted != f"{point}:{side}":
        return
    with open(journal, encoding="utf-8") as lines:
        seen = sum(line.startswith(f"{wanted} ") for line in lines)
    if seen == int(number):
        kill_tree(int(os.environ["CHAOS_ROOT"]))


def kill_tree(root: int) -> None:
    """End a process and all its descendants at once: stopped first, so that none reacts."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(root)
        tree = [top, *top.children(recursive=True)]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in tree:
                if process.pid != os.getpid():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.send_signal(number)
        if any(process.pid == os.getpid() for process in tree):
            os.kill(os.getpid(), signal.SIGKILL)


def _around_rename(original: Callable[..., None]) -> Callable[..., None]:
    def wrapped(source: Any, target: Any, *rest: Any, **more: Any) -> None:
        point = point_of(Path(os.fspath(target)))
        if point is not None:
            reached(point, "before", Path(target).name)
        original(source, target, *rest, **more)
        if point is not None:
            reached(point, "after", Path(target).name)

    return wrapped


def _around_fsync(original: Callable[[int], None]) -> Callable[[int], None]:
    def wrapped(descriptor: int) -> None:
        staged = "/staging/" in os.readlink(f"/proc/self/fd/{descriptor}")
        if staged:
            reached("write", "before")
        original(descriptor)
        if staged:
            reached("write", "after")

    return wrapped


if "CHAOS_JOURNAL" in os.environ:
    os.rename = _around_rename(os.rename)
    os.replace = _around_rename(os.replace)
    os.fsync = _around_fsync(os.fsync)  # type: ignore[assignment]
