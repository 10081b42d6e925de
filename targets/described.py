"""What a machine tells of itself and of its jobs, over a channel or in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paretune import __version__
from paretune.core import protocol
from paretune.core.interference import Watch
from paretune.core.job import JobResult
from paretune.core.protocol import LOG_KEEPS
from paretune.registry import BUILTIN, entries, find, names
from paretune.targets.launchers.local import LocalTarget


def described(target: LocalTarget) -> protocol.Described:
    """Return what a machine is: its device, plug-ins and runtimes.

    Args:
        target: Runs its jobs.
    """
    return protocol.Described(
        protocol=protocol.VERSION,
        version=__version__,
        device=target.info(),
        plugins=_plugins(),
        runtimes=_runtimes(),
    )


def result_of(
    id: int, result: JobResult, value: Any, log: str, watch: Watch | None = None
) -> protocol.Result:
    """Return the message that tells a job's result.

    Args:
        id: Of the job.
        result: What came of it.
        value: What is sent as its value.
        log: What it printed.
        watch: Has seen what others used of the processor meanwhile; None: not watched.
    """
    return protocol.Result(
        id=id,
        status=result.status,
        value=value,
        reason=result.reason,
        transient=result.transient,
        seconds=result.seconds,
        peak_memory=result.peak_memory,
        limits=result.limits,
        interference=result.interference or (None if watch is None else watch.seen),
        waited=result.waited,
        log=log,
    )


def shortened(log: Path) -> str:
    """Return what a job printed; of much, the beginning and the end."""
    text = log.read_bytes()
    if len(text) > 2 * LOG_KEEPS:
        left_out = b"\n[... %d bytes left out ...]\n" % (len(text) - 2 * LOG_KEEPS)
        text = text[:LOG_KEEPS] + left_out + text[-LOG_KEEPS:]
    return text.decode(errors="replace")


def _plugins() -> Mapping[str, str]:
    """Return what other packages add here, with their distributions and versions."""
    return {
        f"{group}.{entry.name}": f"{entry.dist.name} {entry.dist.version}"
        for group in BUILTIN
        for entry in entries(group)
        if entry.dist is not None
    }


def _runtimes() -> Mapping[str, str | None]:
    """Return each runtime that is found here, or why it cannot be imported."""
    found: dict[str, str | None] = {}
    for name in names("runtimes"):
        try:
            find("runtimes", name)
            found[name] = None
        except ImportError as error:
            found[name] = str(error)
    return found
