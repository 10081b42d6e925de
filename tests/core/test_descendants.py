"""A process's descendants, as the kernel lists them."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from paretune.core.descendants import descendants

_CHAIN = """
import subprocess, sys
inner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print(inner.pid, flush=True)
sys.stdin.read()
inner.communicate(b"\\n")
"""


def test_children_and_their_children_are_listed() -> None:
    if descendants(os.getpid()) is None:
        pytest.skip("this system does not list a process's children")
    with subprocess.Popen(
        [sys.executable, "-c", _CHAIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        inner = int(child.stdout.readline())
        found = descendants(os.getpid())
        assert found is not None
        assert {child.pid, inner} <= set(found)
        assert set(found) == {p.pid for p in psutil.Process().children(recursive=True)}
        assert descendants(child.pid) == [inner]
        child.communicate(b"")


def test_a_process_that_is_gone_has_none() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert not descendants(child.pid)
