"""A pool of builders: a job runs on one that has a free slot, while nothing is measured there.

A build that lacks a step which another build is making goes to where that one runs, or waits for
its end (`paretune.targets.shared_steps`).

A builder that is lost gets no more jobs, and what ran on it goes to another one. It is tried again
in the background, and gets jobs as soon as it answers. If all builders are lost, a job is tried
once more, and ends as lost: what follows then is the search's to decide.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from paretune.core.errors import DeviceChangedError, ParetuneError, TargetLostError
from paretune.core.job import JOB_MEMORY_SHARE, Build, Job, JobResult, JobStatus
from paretune.core.machine_lock import GivenUpError
from paretune.core.machines import Machines, Work
from paretune.core.progress import Progress
from paretune.core.target import Target, members_of
from paretune.targets.shared_steps import SharedSteps

MOST_LOSSES = 3
"""Builders that one job may lose: it may be what ends them."""
_TRIED_AGAIN_S = 2.0
_MOST_S = 60.0
"""Between two tries of a lost builder: the first pause, which doubles, and the longest."""


@dataclass(eq=False)
class Builder:
    """A target that builds.

    Attributes:
        target: Runs the jobs.
        slots: How many at once.
        lost: Whether it was lost, and has not answered since.
    """

    target: Target
    slots: int = 1
    name: str = field(init=False)
    machine: str = field(init=False)
    """The machine that it runs on."""
    busy: int = field(default=0, init=False)
    lost: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        try:
            info = self.target.info()
        except TargetLostError as error:  # it was reached before; others may go on without it
            if isinstance(error, DeviceChangedError):
                raise
            self.name, self.machine = getattr(self.target, "name", "a builder"), ""
            self.lost = True
        else:
            self.name, self.machine = info.name, info.boot_id

    @property
    def store(self) -> tuple[str, Path] | None:
        """The store that it builds in, and where that is; None: it is that of this machine."""
        place: Path | None = getattr(self.target, "store", None)
        return None if place is None else (self.machine, place)


def builders_on(target: Target, slots: int) -> list[Builder]:
    """Return the builders of a target: itself, or each of its hosts.

    Args:
        target: Where builds run.
        slots: How many builds it runs at once; its hosts share them.

    Raises:
        UsageError: One of them cannot be used.
    """
    members = members_of(target)[:slots]
    share, more = divmod(slots, len(members))
    return [Builder(member, share + (i < more)) for i, member in enumerate(members)]


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
        self._closed = threading.Event()
        self._shared = SharedSteps()
        self._running: list[tuple[Builder, Build]] = []
        self._changes = 0  # of what runs
        for builder in self.builders:
            if builder.lost:
                self._await(builder)

    @property
    def slots(self) -> int:
        """How many builds run at once."""
        return sum(builder.slots for builder in self.builders)

    @property
    def all_lost(self) -> bool:
        """Whether no builder answers."""
        return all(builder.lost for builder in self.builders)

    def run(
        self,
        job: Job,
        who: str,
        given_up: Callable[[], bool],
        begun: Callable[[Target, Future[JobResult]], None],
    ) -> JobResult:
        """Run a job as soon as there is a slot for it; elsewhere if its builder is lost.

        Args:
            job: What runs.
            who: For which device.
            given_up: Whether it is not wanted any more; see `look_again`.
            begun: Receives where the job runs, each time it begins.

        Raises:
            GivenUpError: `given_up` became true before it began.
        """
        lost: list[Builder] = []
        waited = 0.0
        while True:
            builder = self._taken(job, given_up, lost)
            try:
                with self._machines.use(
                    builder.machine, who, Work.BUILD, job.task.name, given_up=given_up
                ) as now:
                    waited += now
                    result = _run_on(builder, job, begun)
                    waited += result.waited
                    result = replace(result, waited=waited)
            finally:
                self._leave(builder, job)
            if result.lost is None:
                return result
            self._lose(builder, forever=isinstance(result.lost, DeviceChangedError))
            lost.append(builder)
            if len(lost) >= MOST_LOSSES or self.all_lost:
                return result
            if given_up():
                raise GivenUpError
            if job.on_progress is not None:
                note = f"{builder.name} was lost; the job goes to another builder"
                job.on_progress(Progress(job.task.name, 0, 0, note))

    def look_again(self) -> None:
        """Have all who wait look whether they are still wanted."""
        with self._freed:
            self._freed.notify_all()

    def close(self) -> None:
        """Try lost builders no more; the targets stay the caller's to close."""
        self._closed.set()

    def _taken(self, job: Job, given_up: Callable[[], bool], lost: Collection[Builder]) -> Builder:
        """Wait for a slot and take it, on a builder that this job has not lost if there is one."""
        told = False
        while True:
            with self._freed:
                seen, running = self._changes, list(self._running)
            makers = self._makers(job, running)
            if makers and not told and self._free(lost, makers) is None and job.on_progress:
                note = f"waits for a step that {makers[0].name} makes for another candidate"
                job.on_progress(Progress(job.task.name, 0, 0, note))
                told = True
            builder = self._take(job, given_up, lost, makers, seen)
            if builder is not None:
                return builder

    def _take(
        self,
        job: Job,
        given_up: Callable[[], bool],
        lost: Collection[Builder],
        makers: Sequence[Builder],
        seen: int,
    ) -> Builder | None:
        """Wait for a slot and take it; None: what runs has changed since `makers` were found."""
        with self._freed:
            self._freed.wait_for(
                lambda: given_up() or self._changes != seen or self._free(lost, makers) is not None
            )
            if given_up():
                raise GivenUpError
            if self._changes != seen or (builder := self._free(lost, makers)) is None:
                return None
            builder.busy += 1
            if isinstance(job.task, Build):
                self._running.append((builder, job.task))
                self._changes += 1
                self._freed.notify_all()
            return builder

    def _free(self, lost: Collection[Builder], makers: Sequence[Builder]) -> Builder | None:
        """Return the builder to take next, if one has a free slot.

        Args:
            lost: Builders to take only if there is no other.
            makers: Builders that make a step which the job lacks; only their store has it soon.
        """
        there = [each for each in self.builders if not each.lost] or list(self.builders)
        others = [each for each in there if each not in lost] or there
        fit = [each for each in others if all(each.store == m.store for m in makers)]
        most = max(fit, key=lambda builder: builder.slots - builder.busy, default=None)
        return most if most is not None and most.busy < most.slots else None

    def _makers(self, job: Job, running: Sequence[tuple[Builder, Build]]) -> list[Builder]:
        """Return the builders that make a step which a job lacks; with one store, its locks do."""
        if not isinstance(job.task, Build) or len({each.store for each in self.builders}) == 1:
            return []
        return self._shared.makers(job.task, running)

    def _leave(self, builder: Builder, job: Job) -> None:
        with self._freed:
            builder.busy -= 1
            for number, (_, task) in enumerate(self._running):
                if task is job.task:
                    del self._running[number]
                    break
            self._changes += 1
            self._freed.notify_all()

    def _lose(self, builder: Builder, *, forever: bool) -> None:
        """Give a builder no more jobs; until it answers, unless it is another device now."""
        with self._freed:
            known, builder.lost = builder.lost, True
            self._freed.notify_all()
        if not (known or forever):
            self._await(builder)

    def _await(self, builder: Builder) -> None:
        threading.Thread(target=self._try_again, args=(builder,), daemon=True).start()

    def _try_again(self, builder: Builder) -> None:
        """Wait until a lost builder answers."""
        pause = _TRIED_AGAIN_S
        while not self._closed.wait(pause):
            pause = min(2 * pause, _MOST_S)
            with suppress(ParetuneError):
                info = builder.target.info()
                with self._freed:
                    builder.machine, builder.lost = info.boot_id, False
                    self._freed.notify_all()
                return


def _run_on(
    builder: Builder, job: Job, begun: Callable[[Target, Future[JobResult]], None]
) -> JobResult:
    """Run a job on a builder; if that cannot be reached, the result says so."""
    try:
        future = builder.target.submit(_within_its_share(job, builder))
    except TargetLostError as error:
        return JobResult(JobStatus.CRASHED, None, str(error), transient=True, lost=error)
    begun(builder.target, future)
    return future.result()


def _within_its_share(job: Job, builder: Builder) -> Job:
    """Return a job with a limit of memory where several share what is free."""
    if job.limits.memory is not None or builder.slots == 1:
        return job
    share = int(JOB_MEMORY_SHARE * builder.target.info().memory_free / builder.slots) or None
    return replace(job, limits=replace(job.limits, memory=share))
