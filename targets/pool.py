"""A pool of builders: a job runs on one that has a free slot, while nothing is measured there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from paretune.core.job import JOB_MEMORY_SHARE, Job, JobResult
from paretune.core.machines import GivenUpError, Machines, Work
from paretune.core.target import Target


@dataclass(eq=False)
class Builder:
    """A target that builds.

    Attributes:
        target: Runs the jobs.
        slots: How many at once.
    """

    target: Target
    slots: int = 1
    name: str = field(init=False)
    machine: str = field(init=False)
    """The machine that it runs on."""
    busy: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        info = self.target.info()
        self.name, self.machine = info.name, info.boot_id


class BuildPool:
    """Runs builds, and the checks before them, wherever a slot is free.

    Args:
        builders: Where; the first one that has most free slots is taken.
        machines: Grants their machines.
    """

    def __init__(self, builders: Sequence[Builder], machines: Machines) -> None:
        self.builders = tuple(builders)
        self._machines = machines
        self._freed = threading.Condition()

    @property
    def slots(self) -> int:
        """How many builds run at once."""
        return sum(builder.slots for builder in self.builders)

    def run(
        self,
        job: Job,
        who: str,
        given_up: Callable[[], bool],
        begun: Callable[[Target, Future[JobResult]], None],
    ) -> JobResult:
        """Run a job as soon as there is a slot for it.

        Args:
            job: What runs.
            who: For which device.
            given_up: Whether it is not wanted any more; see `look_again`.
            begun: Receives where the job runs, once it does.

        Raises:
            GivenUpError: `given_up` became true before it began.
        """
        builder = self._taken(given_up)
        try:
            with self._machines.use(
                builder.machine, who, Work.BUILD, job.task.name, given_up=given_up
            ) as waited:
                future = builder.target.submit(_within_its_share(job, builder))
                begun(builder.target, future)
                return replace(future.result(), waited=waited)
        finally:
            with self._freed:
                builder.busy -= 1
                self._freed.notify_all()

    def look_again(self) -> None:
        """Have all who wait look whether they are still wanted."""
        with self._freed:
            self._freed.notify_all()

    def _taken(self, given_up: Callable[[], bool]) -> Builder:
        def free() -> Builder | None:
            most = max(self.builders, key=lambda builder: builder.slots - builder.busy)
            return most if most.busy < most.slots else None

        with self._freed:
            self._freed.wait_for(lambda: given_up() or free() is not None)
            builder = free()
            if given_up() or builder is None:
                raise GivenUpError
            builder.busy += 1
            return builder


def _within_its_share(job: Job, builder: Builder) -> Job:
    """Return a job with a limit of memory where several share what is free."""
    if job.limits.memory is not None or builder.slots == 1:
        return job
    share = int(JOB_MEMORY_SHARE * builder.target.info().memory_free / builder.slots) or None
    return replace(job, limits=replace(job.limits, memory=share))
