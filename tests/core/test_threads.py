"""A thread's end is known for certain, after an interrupt too."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from paretune.core.threads import Worker


def test_a_signal_that_breaks_off_the_wait_does_not_end_it_for_who_waits_again() -> None:
    """It is sent once the main thread waits; CPython's own thread would be told to have ended."""
    release = threading.Event()

    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        release.wait()

    worker = Worker(target=work, daemon=True)

    def wait() -> None:
        worker.start()
        worker.join()

    with pytest.raises(KeyboardInterrupt):
        wait()
    assert not worker.done
    worker.join(0.05)
    assert not worker.done
    release.set()
    worker.join()
    assert worker.done


def test_a_thread_whose_work_fails_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)

    def work() -> None:
        raise ValueError

    worker = Worker(target=work)
    worker.start()
    worker.join()
    threading.Thread.join(worker)  # until what reports the error has ended, too
    assert worker.done
