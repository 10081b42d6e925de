"""A thread whose end is known for certain, after an interrupt too."""

from __future__ import annotations

import threading
from typing import Any


class Worker(threading.Thread):
    """A thread that can be waited for again once a signal has broken off the wait.

    In CPython up to 3.12, an exception from a signal handler in `join` or `is_alive` marks the
    thread as ended while it still runs (gh-90882): the next wait for it returns at once.
    Here the thread itself says when its work is done.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._done = threading.Event()

    def run(self) -> None:
        """Do the work; called by `start`."""
        try:
            super().run()
        finally:
            self._done.set()

    @property
    def done(self) -> bool:
        """Whether its work has ended."""
        return self._done.is_set()

    def join(self, timeout: float | None = None) -> None:
        """Wait until its work has ended.

        Args:
            timeout: Most seconds; None: no limit.
        """
        self._done.wait(timeout)
