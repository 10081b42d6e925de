"""Models measured in one round: each in a new process, interleaved if all fit into memory.

Used by the re-measurement of the finalists and by `paretune compare`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from paretune.core.candidate import RuntimeSettings
from paretune.core.folders import folder_size
from paretune.core.interference import Interference, Watch, watching
from paretune.core.job import Job, JobResult, JobStatus, TurnsEndedError, fit_together
from paretune.core.model import Model
from paretune.core.target import Interleaves, Target

ON_PROCESSOR = frozenset({"cpu", "openvino"})
"""Providers that compute on the processor: their processes wait for their turn without a GPU."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Packaged:
    """One of the models.

    Attributes:
        model: Its packaged folder.
        runtime: What it runs with.
    """

    model: Model
    runtime: RuntimeSettings


class RunsJobs(Protocol):
    """Runs jobs to their results (a search within its limits, or a target)."""

    def submit(self, job: Job) -> JobResult:
        """Run one job."""

    def interleave(self, jobs: list[Job], order: random.Random) -> list[JobResult]:
        """Run jobs side by side, one of them working at a time."""


class NotMeasuredError(Exception):
    """A model's job did not end normally.

    Attributes:
        key: Which model.
        result: How its job ended.
    """

    def __init__(self, key: Hashable, result: JobResult) -> None:
        super().__init__(f"{result.status}: {result.reason}")
        self.key = key
        self.result = result


class InterleavedRunner(Generic[Key]):
    """Measures models in rounds.

    Args:
        models: What is measured.
        target: Where the jobs run.
        runs: Runs them.
        observe: Observes the CPU time used by other processes.

    Attributes:
        together: Whether all models fit into memory at once, and so are interleaved.
    """

    def __init__(
        self,
        models: Mapping[Key, Packaged],
        target: Target,
        runs: RunsJobs,
        observe: Callable[[], AbstractContextManager[Watch]] = watching,
    ) -> None:
        self._keys = list(models)
        self._runs = runs
        self._observe = observe
        sizes = [folder_size(each.model.path) for each in models.values()]
        self.together = (
            isinstance(target, Interleaves)
            and all(each.runtime.provider in ON_PROCESSOR for each in models.values())
            and fit_together(sizes, target.info().memory_free)
        )

    def round(
        self, order: random.Random, job: Callable[[Key], Job]
    ) -> dict[Key, tuple[JobResult, Interference]]:
        """Measure each model once.

        Args:
            order: Draws the order.
            job: Returns the job that measures a model.

        Returns:
            By model, in the order in which they ran: the result, and the CPU time that other
            processes used meanwhile.

        Raises:
            NotMeasuredError: A job did not end normally.
            KeyboardInterrupt: It was cancelled.
        """
        keys = order.sample(self._keys, len(self._keys))
        if not self.together:
            return {key: self._alone(key, job(key)) for key in keys}
        with self._observe() as watch:
            try:
                results = self._runs.interleave([job(key) for key in keys], order)
            except TurnsEndedError as ended:
                raise _error(keys[ended.number], ended.result) from ended
        return {
            k: (ended_well(k, r), r.interference or watch.seen)
            for k, r in zip(keys, results, strict=True)
        }

    def _alone(self, key: Key, job: Job) -> tuple[JobResult, Interference]:
        with self._observe() as watch:
            result = self._runs.submit(job)
        return ended_well(key, result), result.interference or watch.seen


def ended_well(key: Hashable, result: JobResult) -> JobResult:
    """Return the result of a job that ended normally.

    Raises:
        NotMeasuredError: It did not.
        KeyboardInterrupt: It was cancelled.
    """
    if result.status is not JobStatus.OK:
        raise _error(key, result)
    return result


def _error(key: Hashable, result: JobResult) -> BaseException:
    cancelled = result.status is JobStatus.CANCELLED
    return KeyboardInterrupt() if cancelled else NotMeasuredError(key, result)
