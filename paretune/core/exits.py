"""How a worker ended that gave no answer: as text, and whether the cause lay outside of it."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from paretune.core.job import JobStatus

_MB = 1e6
_WORDS: Mapping[str, str] = {
    "SIGSEGV": "segmentation fault",
    "SIGABRT": "aborted itself",
    "SIGILL": "illegal instruction",
    "SIGBUS": "bus error",
    "SIGFPE": "arithmetic error",
    "SIGXCPU": "used up its limit of processor time (ulimit -t)",
    "SIGXFSZ": "wrote a file beyond its limit of size (ulimit -f)",
    "SIGKILL": "killed from outside",
    "SIGTERM": "ended from outside",
    "SIGINT": "interrupted from outside",
    "SIGHUP": "ended from outside",
    "SIGQUIT": "ended from outside",
}
_OWN = frozenset(
    {
        # A fault in the code that ran.
        "SIGSEGV",
        "SIGABRT",
        "SIGILL",
        "SIGBUS",
        "SIGFPE",
        "SIGTRAP",
        "SIGSYS",
        # What a process brings on itself: a pipe that it closed, a timer that it set, a limit that
        # the same work meets again.
        "SIGPIPE",
        "SIGALRM",
        "SIGVTALRM",
        "SIGPROF",
        "SIGXCPU",
        "SIGXFSZ",
    }
)
"""Signals by which a process ends for a cause of its own; any other one was sent to it."""


def explain_exit(
    code: int | None, peak_memory: int, *, oom_killer_ran: bool
) -> tuple[JobStatus, str]:
    """Return how a worker ended that gave no answer, as text.

    Args:
        code: Its exit code, negative for a signal; None if it is unknown.
        peak_memory: The largest memory of its tree that was seen, in bytes.
        oom_killer_ran: True if the kernel has killed some process for memory meanwhile.
    """
    if code is None:
        return JobStatus.CRASHED, "was lost together with the process that starts the workers"
    if code >= 0:
        return JobStatus.CRASHED, f"exited with status {code} without a result"
    name = _signal_name(code)
    if name == "SIGKILL" and oom_killer_ran:
        return (
            JobStatus.OUT_OF_MEMORY,
            "killed by the kernel because the machine ran out of memory "
            f"(last seen at {peak_memory / _MB:.0f} MB)",
        )
    words = _WORDS.get(name)
    return JobStatus.CRASHED, name if words is None else f"{words} ({name})"


def is_from_outside(code: int | None) -> bool:
    """Return whether a process was ended by something else than its own work.

    A scheduler, an out-of-memory daemon or a person ends a process by a signal, and not by SIGKILL
    alone. The same work may end otherwise another time.

    Args:
        code: Its exit code, negative for a signal; None if it was lost with its parent.
    """
    return code is None or (code < 0 and _signal_name(code) not in _OWN)


def _signal_name(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal
        return f"signal {-code}"


def oom_kills(read: Callable[[], str] = lambda: Path("/proc/vmstat").read_text()) -> int | None:
    """Return how many processes the kernel has killed for memory; None where it does not say."""
    try:
        found = re.search(r"^oom_kill (\d+)$", read(), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1])
