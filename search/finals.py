"""Finals: who might be on the front is measured on, in turns, until that is known.

A search measures each candidate in its own minute. Those that the choice is between, and the
baseline, then run in rounds: every one once, each in a new process, in a random order, so that
what the machine does meanwhile hits all alike. Rounds go on until every pair is told apart or found
the same on every speed that counts, and every speed is on a sure side of its limit, or until the
time for it is used up.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from paretune.evaluators.pooling import pool, processes_of
from paretune.evaluators.sequential import (
    JOINT_CONFIDENCE,
    MedianSequence,
    Verdict,
    speed_verdict,
)
from paretune.measurement import Measurement, MetricSpec
from paretune.models import Model
from paretune.search.candidate import Candidate
from paretune.search.outcome import Outcome, OutcomeKind, StepTime
from paretune.search.pareto import surely_dominated
from paretune.search.workbench import EvaluatorSlot
from paretune.targets.base import JobStatus

if TYPE_CHECKING:
    from paretune.search.engine import Engine

_MOST_FINALISTS = 6
_BLOCK_S = 0.7
_WORTH_S = 5.0
"""Less time than this is not worth beginning with."""


class Finals:
    """The last part of a search.

    Args:
        engine: The search.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._order = random.Random(0)
        self._slots = [slot for slot in engine.evaluators if slot.on_device and slot.processes > 1]
        specs = {spec.name: spec for slot in self._slots for spec in slot.metrics}
        self._objectives = [o for o in engine.objectives if o.metric in specs]

    def run(self) -> None:
        """Measure on; each round is durable before the next begins.

        Raises:
            KeyboardInterrupt: As it came; the round in flight is unrecorded.
        """
        ids = self.finalists()
        if not self._objectives or len(ids) < 2:
            return
        end = time.monotonic() + self._engine.finals_s
        left = self._engine.left()
        if left is not None:
            end = min(end, time.monotonic() + left)
        if end - time.monotonic() < _WORTH_S or self.decided(ids):
            return
        self._engine.watcher.note(
            f"finals: candidates {', '.join(map(str, ids))} are measured in turns"
        )
        with ExitStack() as stack:
            packages: dict[int, Model] = {}
            for id in ids:
                package = self._package(self._outcome(id).candidate, stack)
                if package is None:
                    return
                packages[id] = package
            while time.monotonic() < end and not self.decided(ids):
                if not self._round(packages):
                    return

    def finalists(self) -> list[int]:
        """Return the front, what may be on it for all one knows, and the baseline."""
        engine = self._engine
        standing = engine.standing()
        outcomes = {o.id: o for o in engine.recorder.outcomes if o.kind is OutcomeKind.OK}
        front = {id: outcomes[id].measurements or {} for id in standing.front}
        near = [
            id for id in sorted(standing.feasible - front.keys())
            if surely_dominated(outcomes[id].measurements or {}, front, engine.objectives) is None
        ]  # fmt: skip
        best = [] if standing.best is None else [standing.best]
        base = [o.id for o in outcomes.values() if o.candidate.digest == engine.baseline]
        chosen = list(dict.fromkeys((*best, *standing.front, *near)))[:_MOST_FINALISTS]
        return list(dict.fromkeys((*chosen, *base))) if len(chosen) > 1 else chosen

    def decided(self, ids: Sequence[int]) -> bool:
        """Return whether all that is asked of the finalists is answered."""
        rounds = {id: self._outcome(id).measurements or {} for id in ids}
        questions = [
            speed_verdict(pair_sequence(rounds[a], rounds[b], o.metric, self._alpha(ids)))
            for a, b in combinations(ids, 2)
            for o in self._objectives
        ]
        return Verdict.UNDECIDED not in questions and not self._near_a_limit(ids)

    def _alpha(self, ids: Sequence[int]) -> float:
        return pair_alpha(len(ids), len(self._objectives))

    def _near_a_limit(self, ids: Sequence[int]) -> bool:
        """Return whether a finalist's speed is not surely on one side of a limit."""
        names = {spec.name for slot in self._slots for spec in slot.metrics}
        for limit in self._engine.standing().limits:
            if limit.metric not in names:
                continue
            for id in ids:
                m = (self._outcome(id).measurements or {}).get(limit.metric)
                if m is None or m.low is None or m.high is None:
                    continue
                if limit.holds(m.low) != limit.holds(m.high):
                    return True
        return False

    def _round(self, packages: Mapping[int, Model]) -> bool:
        """Measure every finalist once, and record it; False if one of them could not be."""
        engine = self._engine
        number = 1 + max(
            (last_round(self._outcome(id).measurements or {}) for id in packages), default=0
        )
        found: list[Outcome] = []
        engine.watcher.timing(True)
        try:
            for id in self._order.sample(list(packages), len(packages)):
                start = time.perf_counter()
                measured = self._blocks(self._outcome(id), packages[id], number)
                if measured is None:
                    return False
                spent = StepTime("finals", time.perf_counter() - start, False)
                outcome = self._outcome(id)
                found.append(
                    replace(outcome, measurements=measured, seconds=(*outcome.seconds, spent))
                )
        finally:
            engine.watcher.timing(False)
        for outcome in found:
            engine.recorder.update(outcome)
        engine.on_outcome(engine.recorder.outcomes[-1], engine.standing())
        return True

    def _blocks(
        self, outcome: Outcome, package: Model, number: int
    ) -> dict[str, Measurement] | None:
        measured = dict(outcome.measurements or {})
        for slot in self._slots:
            block = self._block(outcome.candidate, package, slot)
            if block is None:
                return None
            known = {name: measured[name] for name in block if name in measured}
            rounds = (None, number) if known else (number,)
            blocks = (known, block) if known else (block,)
            measured.update(pool(blocks, self._engine.noise_floor, rounds))
        return measured

    def _block(
        self, candidate: Candidate, package: Model, slot: EvaluatorSlot
    ) -> dict[str, Measurement] | None:
        engine = self._engine
        job = engine.workbench.measure(
            package, candidate.runtime, slot, slot.rungs[-1], {}, _BLOCK_S, block=True
        )
        result = engine.submit(job)
        if result.status is JobStatus.CANCELLED:
            raise KeyboardInterrupt
        if result.status is not JobStatus.OK:
            engine.watcher.note(f"finals ended: {result.status}: {result.reason}")
            return None
        return {m.metric: m for m in map(Measurement.from_json, result.value)}

    def _package(self, candidate: Candidate, stack: ExitStack) -> Model | None:
        """Return a finalist's package, from the store."""
        engine = self._engine
        result = engine.submit(engine.workbench.build(candidate))
        if result.status is JobStatus.CANCELLED:
            raise KeyboardInterrupt
        if result.status is not JobStatus.OK:
            engine.watcher.note(f"no finals: {result.status}: {result.reason}")
            return None
        built = Model.from_json(result.value["model"])
        return stack.enter_context(engine.workbench.packaged(built, candidate.runtime))

    def _outcome(self, id: int) -> Outcome:
        return next(o for o in self._engine.recorder.outcomes if o.id == id)


def pair_alpha(entrants: int, metrics: int) -> float:
    """Return the error of each pair's verdict on each metric, so that all of them hold together."""
    return (1 - JOINT_CONFIDENCE) / max(1, math.comb(entrants, 2) * metrics)


def last_round(measured: Mapping[str, Measurement]) -> int:
    """Return the number of the last round that a candidate was measured in; 0: none."""
    return max(
        (process["round"] or 0 for m in measured.values() for process in processes_of(m)),
        default=0,
    )


def pair_sequence(
    a: Mapping[str, Measurement], b: Mapping[str, Measurement], metric: str, alpha: float,
    spec: MetricSpec | None = None,
) -> MedianSequence:  # fmt: skip
    """Return what the rounds that two candidates share say of their ratio on a metric.

    Args:
        a: The first's measurements.
        b: The second's.
        metric: The metric.
        alpha: Probability that the bounds ever miss.
        spec: What the metric is, if a rate is to be turned around so that less is better.
    """
    sequence = MedianSequence(alpha)
    if metric not in a or metric not in b:
        return sequence
    of_b = {p["round"]: p["value"] for p in processes_of(b[metric]) if p["round"] is not None}
    sign = -1 if spec is not None and spec.direction == "maximize" else 1
    for process in processes_of(a[metric]):
        other = of_b.get(process["round"])
        if other is not None and process["value"] > 0 and other > 0:
            sequence.add(sign * math.log(process["value"] / other))
    return sequence
