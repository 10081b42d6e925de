"""Searches that are not paretune's: a sampler proposes, and each candidate is run to its end.

What such a sampler proposes does not depend on what a candidate costs. So one run gives two curves:
with a store where each prefix is built once, and where each candidate pays its whole chain.

No rungs and no early stops: a candidate is built, loaded, and measured by every evaluator at its
last rung, a speed in as many processes as paretune uses. One that was tried before costs nothing
and does not count as an ask.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping

from simulator.problem import SHARE, Problem, handed_over
from simulator.searching import Curve
from simulator.virtual import VirtualStore

from paretune.core.candidate import Candidate
from paretune.core.measurement import by_metric
from paretune.core.result import uncached_seconds


class Runner:
    """Runs candidates, and keeps what they have shown.

    Args:
        problem: What is searched for.
        seed: Of the noise.
        asks: Most candidates.
    """

    def __init__(self, problem: Problem, seed: int, asks: int) -> None:
        self.problem = problem
        self.shared, self.alone = Curve(), Curve()
        self.values: dict[Candidate, Mapping[str, float]] = {}
        self._seed = seed
        self._store = VirtualStore(problem.table)
        self._no_store = VirtualStore(problem.table, shared=False)
        self._asks = asks
        self._known: dict[str, Mapping[str, float]] = {}

    @property
    def done(self) -> bool:
        """Whether the search has ended: it has the front, or was asked often enough."""
        volumes = self.shared.volumes
        return self.shared.asks >= self._asks or bool(volumes and volumes[-1] >= SHARE)

    def known(self, candidate: Candidate) -> Mapping[str, float] | None:
        """Return what a candidate has shown before."""
        return self._known.get(candidate.digest)

    def needed_s(self, candidate: Candidate) -> float:
        """Return what the passes of a candidate that are not built take."""
        recipe = candidate.recipe
        missing = range(self._store.built_steps(recipe), len(recipe))
        return 1.0 + sum(self._store.step_seconds(recipe[: place + 1]) for place in missing)

    def run(self, candidate: Candidate, *, goes_on: bool = False) -> Mapping[str, float]:
        """Run a candidate to its end; returns its value of each metric.

        Args:
            candidate: What is run.
            goes_on: Whether it is the last one's training that goes on: no new ask.
        """
        known = self.known(candidate)
        if known is not None:
            return known
        table = self.problem.table
        taken = table.smoke_seconds(candidate)
        found: dict[str, float] = {}
        for slot in table.evaluators:
            rung, seen = slot.rungs[-1], list[dict[str, float]]()
            for process in range(slot.processes):
                draw = random.Random(
                    f"{self._seed}/{candidate.digest}/{slot.name}/{rung}/{process + 1}"
                )
                job = table.measure(candidate, slot, rung, None, draw)
                taken += job.seconds
                values = by_metric(job.values).items()
                seen.append({name: m.value for name, m in values if m.value is not None})
            for name in seen[0]:
                found[name] = statistics.median(one[name] for one in seen if name in one)
        self._known[candidate.digest] = found
        self.values[candidate] = found
        volume = self.problem.volume(handed_over(self.values, self.problem))
        for curve, store in ((self.shared, self._store), (self.alone, self._no_store)):
            built = uncached_seconds(store.build(candidate.recipe))
            curve.asks += not goes_on
            curve.end_s += taken + built
            curve.add(curve.end_s, volume)
        return found
