"""A target that cannot be reached for a while: jobs wait for it, and then the search ends.

No candidate is the cause, and none has an outcome for it: the study continues where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from paretune.core.errors import TargetLostError
from paretune.core.job import Job, JobResult, TurnsEndedError
from paretune.core.target import Target

T = TypeVar("T")


def submitted(target: Target, job: Job) -> Future[JobResult]:
    """Submit a job.

    Raises:
        TargetLostError: The target could not be reached.
    """
    future = target.submit(job)
    if future.done() and future.exception() is None:
        lost = future.result().lost
        if lost is not None:
            raise lost
    return future


def retried(
    run: Callable[[], T],
    waits: Sequence[float],
    pause: Callable[[float], None],
    note: Callable[[str], None],
) -> T:
    """Call something that runs jobs; again if the target was lost, or interleaved jobs were.

    Args:
        run: What is called.
        waits: Seconds before each new try.
        pause: Waits so many seconds.
        note: Takes a line for the user.

    Raises:
        TargetLostError: The target stays away.
        TurnsEndedError: Interleaved jobs ended, too often or not for a transient cause.
    """
    for number, wait in enumerate(waits, start=1):
        try:
            return run()
        except TargetLostError as error:
            reason = error.message
        except TurnsEndedError as error:
            if not error.result.transient:
                raise
            reason = str(error)
        note(f"{reason}; tried again in {wait:g} s ({number} of {len(waits)})")
        pause(wait)
    try:
        return run()
    except TargetLostError as error:
        again = "Then give the same command again: the study continues where it stopped."
        hint = again if error.hint is None else f"{error.hint} {again}"
        raise TargetLostError(error.message, hint=hint) from error
