"""A target made of two: one builds, the other measures."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from paretune.core.device import TargetInfo
from paretune.core.job import Job, JobResult
from paretune.core.machines import Machines, Work
from paretune.core.target import (
    Interleaves,
    Moves,
    Target,
    build_slots,
    is_far,
    machines_of,
    members_of,
)
from paretune.targets.launchers.local import LocalTarget

MEASURED = frozenset({"smoke", "measure"})
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
        # What a far builder sends and is sent moves on this machine.
        self._this_machine: Machines | None = None
        if isinstance(build, Moves) and not is_far(measure):
            self._this_machine = Machines()
            build.move_in(partial(self._used, Work.MOVE))
        if isinstance(measure, Interleaves):
            self.interleave: Callable[..., list[JobResult]] = self._interleave

    @cached_property
    def builds_apart(self) -> bool:
        """Whether the two are known to be different machines: neither disturbs the other."""
        build, measure = machines_of(self.build), machines_of(self.measure)
        return bool(build and measure) and build.isdisjoint(measure)

    @property
    def build_slots(self) -> int:
        """How many builds run at once."""
        return build_slots(self.build)

    def info(self) -> TargetInfo:
        """Return the facts of the measuring device: measurements are valid for it."""
        return self.measure.info()

    def submit(self, job: Job) -> Future[JobResult]:
        """Run a job on the target that its kind belongs to."""
        if job.kind not in MEASURED:
            return self.build.submit(job)
        with ExitStack() as stack:
            stack.enter_context(self._used(Work.MEASURE))
            future = self.measure.submit(job)
            used = stack.pop_all()
        future.add_done_callback(lambda _: used.close())
        return future

    def _used(self, work: Work) -> AbstractContextManager[object]:
        """Use this machine; nothing moves while it measures."""
        return (
            nullcontext()
            if self._this_machine is None
            else self._this_machine.use("here", "", work)
        )

    def _interleave(
        self, jobs: Sequence[Job], order: random.Random, seconds: float | None = None
    ) -> list[JobResult]:
        assert isinstance(self.measure, Interleaves)
        with self._used(Work.MEASURE):
            return self.measure.interleave(jobs, order, seconds)

    def cancel(self) -> None:
        """End the running jobs of both."""
        _both(self.build.cancel, self.measure.cancel)

    def close(self) -> None:
        """Release both."""
        _both(self.build.close, self.measure.close)


def builder_of(target: Target) -> Target:
    """Return the target that builds: one of two, or the target itself."""
    return target.build if isinstance(target, SplitTarget) else target


def builders_of(target: Target) -> tuple[Target, ...]:
    """Return every target that builds, by the attribute ``builders``; else each host of it."""
    found: tuple[Target, ...] = getattr(target, "builders", ())
    return found or tuple(members_of(builder_of(target)))


def measurer_of(target: Target) -> Target:
    """Return the target that measures: one of two, or the target itself."""
    return target.measure if isinstance(target, SplitTarget) else target


@contextmanager
def near_target(target: Target, store_root: Path) -> Iterator[Target]:
    """Yield a target for calls that name files of this machine.

    It is the one that builds, unless that may be another machine.

    Args:
        target: Where a search runs.
        store_root: The artifact store of this machine.
    """
    builder = builder_of(target)
    if not is_far(builder):
        yield builder
        return
    with LocalTarget(store_root) as near:
        yield near


def _both(first: Callable[[], Any], second: Callable[[], Any]) -> None:
    try:
        first()
    finally:
        second()
