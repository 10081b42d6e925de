"""Whether the C library keeps a training's memory between operations: where it is measured to pay.

glibc gives large blocks back to the system when they are freed, and the next operation gets fresh
pages, each at the cost of a fault. How much that is differs by machine and by model: nothing
here, a quarter of a step there. So the second step of a training is measured, and what is switched
is measured again. The settings are those of ``mallopt`` (the GNU C Library's manual, "Malloc
Tunable Parameters"); they change no value that is computed.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_KEEPING = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1))
# The thresholds are the largest of glibc's own adaptation, which any call of mallopt ends.
_USUAL = ((_MMAP_MAX, 65_536), (_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 64 << 20))
_WORTH = 0.1
"""Share of a step's processor time that the system takes. Below it there is nothing to gain."""
_LEAST = 0.5
"""Seconds of processor time of a step. In less, the two times are too coarse to be compared."""


class MemoryPages:
    """Decides, from the processor times of the first steps, whether pages are kept.

    Args:
        switch: Makes the C library keep pages, or not.
        times: Returns the seconds that this process has computed so far, and those of the system.
    """

    def __init__(
        self, switch: Callable[[bool], None], times: Callable[[], tuple[float, float]]
    ) -> None:
        self._switch = switch
        self._times = times
        self._begun = times()
        self._step = 0
        self._share = 0.0
        self.kept = False

    def step_began(self) -> None:
        """Leave out what ran since the last step: a checkpoint, held-out losses."""
        self._begun = self._times()

    def step_ended(self) -> str | None:
        """Return what was changed after this step, for people; None: nothing."""
        self._step += 1
        user, system = (now - then for now, then in zip(self._times(), self._begun, strict=True))
        share = system / max(user + system, _LEAST)
        # The first step, and the first one after a switch, get all their pages for the first time.
        if self._step == 2 and share >= _WORTH:
            self._share = share
            self._set(True)
            return f"the system took {share:.0%} of a step: memory is kept between operations"
        if self._step == 4 and self.kept and share > self._share / 2:
            self._set(False)
            return f"the system still takes {share:.0%} of a step: memory is not kept"
        return None

    def _set(self, kept: bool) -> None:
        self._switch(kept)
        self.kept = kept


@contextmanager
def memory_pages() -> Iterator[MemoryPages | None]:
    """Let the pages of a training be kept where it pays; they are given back at the end.

    Yields:
        What decides; None where the C library is not glibc, or the environment has settings of
        its own for it (``MALLOC_...``, ``GLIBC_TUNABLES``).
    """
    libc = _glibc()
    if libc is None or _is_set_by_hand():
        yield None
        return
    import resource  # Unix only, as glibc is

    def switch(kept: bool) -> None:
        for parameter, value in _KEEPING if kept else _USUAL:
            libc.mallopt(parameter, value)
        if not kept:
            libc.malloc_trim(0)

    def times() -> tuple[float, float]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime, used.ru_stime

    pages = MemoryPages(switch, times)
    try:
        yield pages
    finally:
        if pages.kept:
            switch(False)


def _glibc() -> Any:
    """Return this process's C library; None if it is another one."""
    if os.name != "posix":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "mallopt") else None


def _is_set_by_hand() -> bool:
    tuned = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    return tuned or any(name.startswith("MALLOC_") and name.endswith("_") for name in os.environ)
