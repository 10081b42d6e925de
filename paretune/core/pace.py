"""How often something is done that costs more the longer a search goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

_EVERY_S = 2.0
_SHARE = 0.02


class Pace:
    """Lets something be done every few seconds, and rarer where it takes long.

    Args:
        clock: Gives seconds.
        every_s: Seconds between two times, at least.
        share: Of the time at most, however long one takes.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        every_s: float = _EVERY_S,
        share: float = _SHARE,
    ) -> None:
        self._clock = clock
        self._every_s = every_s
        self._share = share
        self._began = 0.0
        self._next: float | None = None

    def due(self) -> bool:
        """Return whether it is time again; at first it is."""
        return self._next is None or self._clock() >= self._next

    def __enter__(self) -> None:
        """It is being done now."""
        self._began = self._clock()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """It is done."""
        now = self._clock()
        self._next = now + max(self._every_s, (now - self._began) / self._share)
