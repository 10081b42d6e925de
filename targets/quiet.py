"""Measurements and transfers on one machine, one after the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Quiet:
    """Has transfers wait while this machine measures, and a measurement until they have ended.

    Transfers may run beside one another. A measurement that waits goes before transfers that wait.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._measuring = 0
        self._moving = 0

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Measure while the block runs."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Move files while the block runs."""
        with self._changed:
            self._changed.wait_for(lambda: not self._measuring)
            self._moving += 1
        try:
            yield
        finally:
            with self._changed:
                self._moving -= 1
                self._changed.notify_all()

    def begin(self) -> None:
        """Begin to measure, as soon as nothing moves; `end` must follow."""
        with self._changed:
            self._measuring += 1  # from now on nothing else begins to move
            try:
                self._changed.wait_for(lambda: not self._moving)
            except BaseException:  # the user ended the search meanwhile
                self._measuring -= 1
                self._changed.notify_all()
                raise

    def end(self) -> None:
        """End a measurement."""
        with self._changed:
            self._measuring -= 1
            self._changed.notify_all()
