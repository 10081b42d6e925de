"""The machine as jobs of this process hold it: a measurement alone, interleaved ones together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from paretune.core.interference import Watch
from paretune.core.job import Call, Job, JobResult, Measure
from paretune.core.machine_lock import MachineLock
from paretune.core.progress import Progress


@dataclass(frozen=True)
class Held:
    """A machine that a job holds.

    Attributes:
        waited: Seconds before that.
        watch: What others use of it meanwhile, if a measurement waited: the watch of its submitter
            has seen them while it waited, too.
    """

    waited: float = 0.0
    watch: Watch | None = None

    def noted(self, result: JobResult) -> JobResult:
        """Return a result that tells both."""
        seen = result.interference if self.watch is None else self.watch.seen
        return replace(result, waited=self.waited, interference=seen)


class HeldMachine:
    """Holds this machine while jobs run."""

    def __init__(self) -> None:
        self._machine = MachineLock()
        self._joining = threading.Lock()
        self._together = 0
        self._held = Held()
        self._leave = ExitStack()

    @contextmanager
    def held_for(self, job: Job, given_up: Callable[[], bool]) -> Iterator[Held]:
        """Hold the machine for a job; checks before a search (`Call`) run beside anything.

        Args:
            job: What runs.
            given_up: Whether it was cancelled.

        Raises:
            GivenUpError: It was cancelled before the machine was free.
            UsageError: The machine's locks cannot be used.
        """

        def waits(why: str) -> None:
            if job.on_progress is not None:
                job.on_progress(Progress(job.task.name, 0, 0, why, waits=True))

        if isinstance(job.task, Call):
            yield Held()
        elif job.turns is not None:
            with self._with_others(given_up, waits) as held:
                yield held
        else:
            measures = isinstance(job.task, Measure)
            with self._machine.use(alone=measures, given_up=given_up, waits=waits) as waited:
                yield _from_now(waited, measures=measures)

    @contextmanager
    def _with_others(
        self, given_up: Callable[[], bool], waits: Callable[[str], None]
    ) -> Iterator[Held]:
        """Hold the machine together with the other interleaved jobs of this process."""
        with self._joining:
            if not self._together:
                with ExitStack() as stack:
                    use = self._machine.use(alone=True, given_up=given_up, waits=waits)
                    self._held = _from_now(stack.enter_context(use), measures=True)
                    self._leave = stack.pop_all()
            self._together += 1
        try:
            yield self._held
        finally:
            with self._joining:
                self._together -= 1
                if not self._together:
                    self._leave.close()


def _from_now(waited: float, *, measures: bool) -> Held:
    return Held(waited, Watch(None) if measures and waited else None)
