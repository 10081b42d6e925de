"""One round of the finals: every finalist once, in a new process, side by side in short turns.

What others took of the processor meanwhile is noted, and such a round does not count where the
speed itself is asked for (`search/borderline.py`); for ratios it does, as it hit all turns alike.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from paretune.core.candidate import Candidate
from paretune.core.folders import folder_size
from paretune.core.interference import Interference
from paretune.core.job import Job, JobResult, JobStatus, TurnsEndedError, fit_together
from paretune.core.measurement import Measurement, by_metric
from paretune.core.model import Model
from paretune.core.target import Interleaves
from paretune.search.jobs import EvaluatorSlot
from paretune.search.run import SearchRun

BLOCK_S = 0.4
"""Seconds of sampling in a process, all its turns together."""
Blocks = dict[str, Measurement]


@dataclass(frozen=True)
class Subject:
    """Who takes part.

    Attributes:
        id: The candidate's number.
        candidate: What it is.
        package: Where it lies.
    """

    id: int
    candidate: Candidate
    package: Model


class InterleavedRounds:
    """Measures finalists, round after round.

    Args:
        engine: The search.
        slots: What is measured in turns.
        finalists: Who takes part.
    """

    def __init__(
        self, engine: SearchRun, slots: Sequence[EvaluatorSlot], finalists: Sequence[Subject]
    ) -> None:
        self._engine = engine
        self._slots = slots
        self._finalists = finalists
        self._order = random.Random(0)
        self._together = self._fit_together()

    def _fit_together(self) -> bool:
        target = self._engine.target
        sizes = [folder_size(finalist.package.path) for finalist in self._finalists]
        return (
            isinstance(target, Interleaves)
            and all(f.candidate.runtime.provider == "cpu" for f in self._finalists)
            and fit_together(sizes, target.info().memory_free)
        )

    def measure(self) -> dict[int, Blocks] | None:
        """Measure each finalist once; None if one of them could not be.

        Raises:
            KeyboardInterrupt: The user ended it.
            OutOfTimeError: The study's time ran out.
        """
        found: dict[int, Blocks] = {finalist.id: {} for finalist in self._finalists}
        for slot in self._slots:
            order = self._order.sample(list(self._finalists), len(self._finalists))
            jobs = [self._job(finalist, slot) for finalist in order]
            results = self._in_turns(jobs) if self._together else self._one_by_one(jobs)
            if results is None:
                return None
            for finalist, (result, seen) in zip(order, results, strict=True):
                block = by_metric(result.value)
                hit = seen.was_hit(finalist.candidate.runtime.threads, self._engine.cores)
                found[finalist.id] |= seen.noted(block) if hit else block
        return found

    def _job(self, finalist: Subject, slot: EvaluatorSlot) -> Job:
        return self._engine.job_factory.measure(
            finalist.package,
            finalist.candidate.runtime,
            slot,
            slot.rungs[-1],
            {},
            BLOCK_S,
            block=True,
        )

    def _in_turns(self, jobs: Sequence[Job]) -> list[tuple[JobResult, Interference]] | None:
        with self._engine.watching() as watch:
            try:
                results = self._engine.interleave(jobs, self._order)
            except TurnsEndedError as ended:
                results = [ended.result]
        well = all(map(self._well, results))
        return [(result, watch.seen) for result in results] if well else None

    def _one_by_one(self, jobs: Sequence[Job]) -> list[tuple[JobResult, Interference]] | None:
        results = []
        for job in jobs:
            with self._engine.watching() as watch:
                result = self._engine.submit(job)
            if not self._well(result):
                return None
            results.append((result, watch.seen))
        return results

    def _well(self, result: JobResult) -> bool:
        if result.status is JobStatus.CANCELLED:
            raise KeyboardInterrupt
        if result.status is not JobStatus.OK:
            self._engine.watcher.note(f"finals ended: {result.status}: {result.reason}")
        return result.status is JobStatus.OK
