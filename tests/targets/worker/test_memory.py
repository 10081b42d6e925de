"""What a job holds: read where it is much or the job was long, else estimated."""

from __future__ import annotations

import psutil
import pytest

from paretune.targets.process_tree import memory_of
from paretune.targets.worker import memory
from paretune.targets.worker.memory import MemoryHeld


@pytest.mark.parametrize(("forked", "share"), [(True, 0.5), (False, 1.0)])
def test_a_short_job_that_took_little_is_estimated(
    monkeypatch: pytest.MonkeyPatch, forked: bool, share: float
) -> None:
    monkeypatch.setattr(memory, "_SHORT_S", 3600.0)
    monkeypatch.setattr(memory, "memory_of", None)  # not asked
    resident = psutil.Process().memory_info().rss
    held = MemoryHeld(forked=forked).read()
    assert share * resident * 0.9 < held < share * resident * 1.1 + (32 << 20)


def test_a_job_that_took_much_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_SHORT_S", 3600.0)
    monkeypatch.setattr(memory, "memory_of", lambda process: 77)
    held = MemoryHeld(forked=True)
    kept = b"x" * (64 << 20)
    assert held.read() == 77
    del kept


def test_a_long_job_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_SHORT_S", 0.0)
    assert 0.5 < MemoryHeld(forked=True).read() / memory_of(psutil.Process()) < 2.0
