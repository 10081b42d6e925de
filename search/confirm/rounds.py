"""One round of re-measuring the finalists: each once, in a new process, interleaved.

The CPU time that other processes used meanwhile is noted, and so is whether the device was
throttled. A disturbed round does not count where the speed itself is compared with a limit
(`search/borderline.py`). It does count for ratios, as all finalists of the round were affected
equally.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from paretune.core.candidate import Candidate
from paretune.core.job import Job
from paretune.core.measurement import Measurement, by_metric
from paretune.core.model import Model
from paretune.search.confirm.interleaved import InterleavedRunner, NotMeasuredError, Packaged
from paretune.search.jobs import EvaluatorSlot
from paretune.search.run import SearchRun
from paretune.search.throttling import causes

BLOCK_S = 0.4
"""Seconds of sampling in a process, summed over its blocks."""
Blocks = dict[str, Measurement]


@dataclass(frozen=True)
class Subject:
    """A finalist.

    Attributes:
        id: The candidate's number.
        candidate: The candidate.
        package: Its packaged model.
    """

    id: int
    candidate: Candidate
    package: Model


class InterleavedRounds:
    """Measures finalists, round after round.

    Args:
        engine: The search.
        slots: The evaluators that measure them.
        finalists: What is measured.
        order: Draws the order in which they run.
    """

    def __init__(
        self,
        engine: SearchRun,
        slots: Sequence[EvaluatorSlot],
        finalists: Sequence[Subject],
        order: random.Random,
    ) -> None:
        self._engine = engine
        self._slots = slots
        self._finalists = {finalist.id: finalist for finalist in finalists}
        self._order = order
        packages = {f.id: Packaged(f.package, f.candidate.runtime) for f in finalists}
        self._runner = InterleavedRunner(packages, engine.target, engine, engine.watching)

    def measure(self) -> dict[int, Blocks] | None:
        """Measure each finalist once; None if one of them could not be measured.

        Raises:
            KeyboardInterrupt: The user ended it.
            OutOfTimeError: The study's time ran out.
        """
        found: dict[int, Blocks] = {id: {} for id in self._finalists}
        for slot in self._slots:
            try:
                results = self._runner.round(self._order, partial(self._job, slot))
            except NotMeasuredError as error:
                self._engine.watcher.note(f"the re-measurement of the finalists ended: {error}")
                return None
            for id, (result, seen) in results.items():
                block = by_metric(result.value)
                threads = self._finalists[id].candidate.runtime.threads
                hit = seen.was_hit(threads, self._engine.cores)
                found[id] |= seen.noted(block) if hit else block
                self._note_throttling(id, block)
        return found

    def _note_throttling(self, id: int, block: Blocks) -> None:
        """Note the first throttled round; each of them is marked in its measurements."""
        why, throttling = causes(block.values()), self._engine.throttling
        if why and not throttling.round_noted:
            throttling.round_noted = True
            self._engine.watcher.note(
                f"the device was throttled while candidate {id} was measured again as a finalist "
                f"({why}); such rounds are marked, and count for comparisons only"
            )

    def _job(self, slot: EvaluatorSlot, id: int) -> Job:
        finalist = self._finalists[id]
        return self._engine.job_factory.measure(
            finalist.package,
            finalist.candidate.runtime,
            slot,
            slot.rungs[-1],
            {},
            BLOCK_S,
            block=True,
        )
