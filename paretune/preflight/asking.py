"""Checks that run as jobs on a target before a search.

A connection that is lost meanwhile is not a result of the check: the check is run again. If the
target stays away, the error is that of a target which cannot be reached.
"""

from __future__ import annotations

from paretune.core.errors import TargetLostError
from paretune.core.job import Call, Job, JobResult, Limits
from paretune.core.target import Target
from paretune.search.lost_targets import result_of


def ask(target: Target, call: Call, limits: Limits) -> JobResult:
    """Run a check; again after a transient failure.

    Args:
        target: Where it runs.
        call: The check.
        limits: Its limits.

    Raises:
        TargetLostError: The target was lost each time, or stays away.
    """
    result = result_of(target, Job(call, limits))
    if result.lost is not None:
        raise TargetLostError(
            f"a check before the search could not be run: {result.lost.message}",
            hint="Does that machine run, and stay on? Then give the same command again.",
        )
    return result
