from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psutil
import pytest

from paretune.targets.launchers.ssh import SshTarget
from tests.targets.sshd import Sshd


@pytest.fixture
def opened(sshd: Sshd) -> Iterator[Callable[..., SshTarget]]:
    """Makes targets on the host ``board`` that are closed at the end; no process stays behind."""
    before = set(psutil.Process().children(recursive=True))
    with ExitStack() as stack:

        def make(**options: Any) -> SshTarget:
            given = {"name": "board", "host": "board", "python": sys.executable, **options}
            made = SshTarget(**given)
            stack.callback(made.close)
            return made

        yield make
    left = [p for p in psutil.Process().children(recursive=True) if p not in before]
    _, stayed = psutil.wait_procs([p for p in left if _runs(p)], timeout=60)
    assert not stayed, "a process stayed behind"


def _runs(process: psutil.Process) -> bool:
    """Return whether a process is none of the sshd's own, and has not ended."""
    try:
        return "sshd" not in process.name()
    except psutil.NoSuchProcess:
        return False
