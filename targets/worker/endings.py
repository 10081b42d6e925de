"""How a job ends that is asked to: by unwinding at once, or at the next place where it can stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

GRACE_S = 20.0
"""How long a job that saves its state first may take to end."""
_ENDINGS = ("SIGTERM", "SIGINT", "SIGHUP")
_came: list[int] = []
"""The signals that ended this job from outside, in the order in which they came."""
_waits = False
_announce: list[Callable[[float | None], None]] = []


class TerminatedError(BaseException):
    """A signal came from outside: unwind, so that temporary folders are removed, and die of it."""


def heed() -> None:
    """Unwind when a signal asks this process to end, unless the environment ignores that one."""
    for name in _ENDINGS:
        number = getattr(signal, name, None)
        if number is not None and (
            number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN
        ):
            signal.signal(number, _ask)


def announce_by(send: Callable[[float | None], None]) -> None:
    """Set what sends the parent how long this job may take to end; None: as long as others."""
    _announce[:] = [send]


def came() -> bool:
    """Return whether a signal asked this process to end."""
    return bool(_came)


@contextmanager
def waiting() -> Iterator[Callable[[], bool]]:
    """Let the first request to end wait until the context is left; a second one does not wait.

    Yields:
        A function that returns whether there was one.
    """
    global _waits
    _tell(GRACE_S)
    _waits = True
    try:
        yield came
    finally:
        _waits = False
    if _came:
        raise TerminatedError
    _tell(None)


def die() -> NoReturn:
    """End by the signal that came first, so that the parent sees that it came from outside."""
    signal.signal(_came[0], signal.SIG_DFL)
    signal.raise_signal(_came[0])
    os._exit(1)


def _tell(seconds: float | None) -> None:
    for send in _announce:
        send(seconds)


def _ask(number: int, _: object) -> None:
    _came.append(number)
    if not _waits or len(_came) > 1:
        raise TerminatedError
