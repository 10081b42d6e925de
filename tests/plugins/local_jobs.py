"""What tests of the local target share: running one function as a job, and waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from paretune.core.job import Call, Job, JobResult, Limits
from paretune.targets.launchers.local import LocalTarget

MB = 1_000_000
NO_LIMITS = Limits()


@contextmanager
def nothing_stays_behind() -> Iterator[None]:
    """Fail if the block leaves a process of its own."""
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before, "a process stayed behind"


def run(
    target: LocalTarget,
    name: str,
    /,
    limits: Limits = NO_LIMITS,
    log: Path | None = None,
    **arguments: Any,
) -> JobResult:
    """Run one of `job_functions` as a job."""
    call = Call(f"job_functions:{name}", arguments)
    return target.submit(Job(call, limits, log)).result(300)


def wait_for(path: Path, seconds: float = 120.0) -> str:
    """Wait until a file is there and, unless it is a flag, holds something."""
    deadline = time.monotonic() + seconds
    while not (path.is_file() and (path.stat().st_size or path.suffix == ".flag")):
        assert time.monotonic() < deadline, f"{path.name} never appeared"
        time.sleep(0.01)
    return path.read_text()


def gone(pid: int, seconds: float = 60.0) -> bool:
    """Return whether a process ends within so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:  # init is slow to collect it
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False
