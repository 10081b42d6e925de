"""A target made of two: one builds, the other measures."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import cached_property
from typing import Any

from paretune.core.device import TargetInfo
from paretune.core.job import Job, JobResult
from paretune.core.target import Interleaves, Target

_MEASURED = frozenset({"smoke", "measure"})
"""Kinds of jobs that run where models are measured; all others belong to building."""


class SplitTarget:
    """Sends each job to the target that builds or to the one that measures.

    It interleaves jobs if the measuring target does.

    Args:
        build: Runs builds, and the checks before them (calls).
        measure: Runs ``smoke`` and ``measure`` jobs.
    """

    def __init__(self, build: Target, measure: Target) -> None:
        self.build = build
        self.measure = measure
        if isinstance(measure, Interleaves):
            self.interleave: Callable[..., list[JobResult]] = measure.interleave

    @cached_property
    def builds_apart(self) -> bool:
        """Whether the two are known to be different machines: neither disturbs the other."""
        boots = {self.build.info().boot_id, self.measure.info().boot_id}
        return len(boots) == 2 and "" not in boots

    def info(self) -> TargetInfo:
        """Return the facts of the measuring device: measurements are valid for it."""
        return self.measure.info()

    def submit(self, job: Job) -> Future[JobResult]:
        """Run a job on the target that its kind belongs to."""
        return (self.measure if job.kind in _MEASURED else self.build).submit(job)

    def cancel(self) -> None:
        """End the running jobs of both."""
        _both(self.build.cancel, self.measure.cancel)

    def close(self) -> None:
        """Release both."""
        _both(self.build.close, self.measure.close)


def builder_of(target: Target) -> Target:
    """Return the target that builds: one of two, or the target itself."""
    return target.build if isinstance(target, SplitTarget) else target


def measurer_of(target: Target) -> Target:
    """Return the target that measures: one of two, or the target itself."""
    return target.measure if isinstance(target, SplitTarget) else target


def _both(first: Callable[[], Any], second: Callable[[], Any]) -> None:
    try:
        first()
    finally:
        second()
