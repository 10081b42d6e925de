"""How long this side waits for a service that is away while there is work in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from paretune.azure.failures import UnreachableError
from paretune.core.errors import ConnectionLostError, TransientError

DOWN_S = 600.0
"""How long Azure may not be reached, beyond the tries of its SDK."""
_PAUSE_S = 5.0
_T = TypeVar("_T")


def patiently(
    run: Callable[[], _T],
    stopped: threading.Event,
    within: Callable[[], AbstractContextManager[object]] = nullcontext,
    moved: Callable[[], int] = lambda: 0,
) -> _T:
    """Call something that can be called again; again while the service is away.

    Args:
        run: What is called.
        stopped: Whether its result is not wanted any more.
        within: Gives the context in which each call runs. Entering it may wait for something else,
            such as the end of a measurement: the service is not away for that time.
        moved: Returns how many bytes have been moved. If a call that fails has moved some, the
            service was there meanwhile.

    Raises:
        ConnectionLostError: The service stays away.
        TransientError: `stopped` was set while it was away.
    """
    away: float | None = None
    before = moved()
    while True:
        with within():
            begun = time.monotonic()
            try:
                return run()
            except UnreachableError as error:
                failure = error
            tried = time.monotonic() - begun
        if away is None or moved() != before:
            away, before = 0.0, moved()
        else:
            away += tried
        if away >= DOWN_S:
            raise stays_away(failure) from failure
        begun = time.monotonic()
        if stopped.wait(_PAUSE_S):
            raise TransientError("stopped") from failure
        away += time.monotonic() - begun


def stays_away(error: TransientError) -> ConnectionLostError:
    """Return the error for a service that has been away for too long."""
    hint = "The jobs run on in Azure; the same command finds them."
    return ConnectionLostError(error.message, hint=hint)
