"""A target that cannot be reached for a while: jobs wait for it, and then the command ends.

A machine that starts again is back within a minute or two, so a search waits longer for a target
than for a job that failed. One that refuses, or is another device, is not waited for.

No candidate is the cause, and none has an outcome for it: the study continues where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from paretune.core.errors import (
    ConnectionLostError,
    DeviceChangedError,
    TargetLostError,
    TargetRefusesError,
)
from paretune.core.job import Job, JobResult, TurnsEndedError
from paretune.core.target import Target

T = TypeVar("T")
RETRY_WAITS_S = (1.0, 10.0)
"""Seconds before each new try of a job."""
LOST_WAITS_S = (*RETRY_WAITS_S, 30.0, 60.0, 120.0)
"""Seconds before a search tries again to reach a target."""


def submitted(target: Target, job: Job) -> Future[JobResult]:
    """Submit a job.

    Raises:
        TargetLostError: The target could not be reached.
    """
    future = target.submit(job)
    if future.done() and future.exception() is None:
        lost = future.result().lost
        if lost is not None and not isinstance(lost, ConnectionLostError):
            raise lost
    return future


def resumable(error: TargetLostError) -> TargetLostError:
    """Return an error that also says that the same command goes on."""
    again = "Then give the same command again: the study continues where it stopped."
    hint = again if error.hint is None else f"{error.hint} {again}"
    return type(error)(error.message, hint=hint)


def retried(
    run: Callable[[], T],
    waits: Sequence[float] = RETRY_WAITS_S,
    pause: Callable[[float], None] = lambda seconds: time.sleep(seconds),
    note: Callable[[str], None] = lambda text: None,
) -> T:
    """Call something that runs jobs; again if the target was lost, or interleaved jobs were.

    Args:
        run: What is called.
        waits: Seconds before each new try.
        pause: Waits so many seconds.
        note: Takes a line for the user.

    Raises:
        TargetLostError: The target stays away, refuses, or has become another device.
        TurnsEndedError: Interleaved jobs ended, too often or not for a transient cause.
    """
    for number, wait in enumerate(waits, start=1):
        try:
            return run()
        except (DeviceChangedError, TargetRefusesError):
            raise
        except TargetLostError as error:
            reason = error.message
        except TurnsEndedError as error:
            if not error.result.transient:
                raise
            reason = str(error)
        note(f"{reason}; tried again in {wait:g} s ({number} of {len(waits)})")
        pause(wait)
    return run()


def result_of(target: Target, job: Job) -> JobResult:
    """Run a job outside of a search; again after a transient failure.

    Raises:
        TargetLostError: The target stays away.
    """
    result = _run(target, job)
    for wait in RETRY_WAITS_S:
        if not result.transient:
            break
        time.sleep(wait)
        result = _run(target, job)
    return result


def _run(target: Target, job: Job) -> JobResult:
    def submit() -> Future[JobResult]:
        return submitted(target, job)

    return retried(submit, RETRY_WAITS_S).result()
