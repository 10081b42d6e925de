"""How long this side waits for a service that is away while there is work in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from paretune.azure.failures import UnreachableError
from paretune.core.errors import ConnectionLostError, TransientError

DOWN_S = 600.0
"""How long Azure may not be reached, beyond the tries of its SDK."""
_PAUSE_S = 5.0
_T = TypeVar("_T")


def patiently(run: Callable[[], _T], stopped: threading.Event) -> _T:
    """Call something that can be called again; again while the service is away.

    Args:
        run: What is called.
        stopped: Whether its result is not wanted any more.

    Raises:
        ConnectionLostError: The service stays away.
        TransientError: `stopped` was set while it was away.
    """
    down: float | None = None
    while True:
        try:
            return run()
        except UnreachableError as error:
            now = time.monotonic()
            down = now if down is None else down
            if now - down >= DOWN_S:
                raise stays_away(error) from error
            if stopped.wait(_PAUSE_S):
                raise TransientError("stopped") from error


def stays_away(error: TransientError) -> ConnectionLostError:
    """Return the error for a service that has been away for too long."""
    hint = "The jobs run on in Azure; the same command finds them."
    return ConnectionLostError(error.message, hint=hint)
