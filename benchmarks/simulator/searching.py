"""One search of a table: paretune's own strategies through the real engine, in virtual time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from simulator.problem import SHARE, Problem
from simulator.tables import Table
from simulator.virtual import (
    Clock,
    InMemory,
    Silent,
    VirtualJobs,
    VirtualStore,
    VirtualTarget,
    undisturbed,
)

from paretune.core.candidate import Candidate
from paretune.core.estimate import Estimate
from paretune.core.plugins import find
from paretune.core.result import TrialResult
from paretune.search.engine import Engine
from paretune.search.prechecks import Foresight
from paretune.search.priors import Prior
from paretune.search.run import Shortcuts
from paretune.search.strategies.base import Event, Request, Start, Strategy, View
from paretune.search.strategies.full_trials import as_strategy
from paretune.search.summary import StudySummary

_NO_BASELINE = "none"


@dataclass
class Curve:
    """How a search went.

    Attributes:
        times: Virtual seconds of each event.
        volumes: Share of the exhaustive hypervolume from then on.
        asks: How often it was asked and answered.
        end_s: Virtual seconds at its end.
        cpu_s: Seconds of processor time that the search itself took.
    """

    times: list[float] = field(default_factory=list)
    volumes: list[float] = field(default_factory=list)
    asks: int = 0
    end_s: float = 0.0
    cpu_s: float = 0.0

    def add(self, now: float, volume: float) -> None:
        """Note a change; what does not change anything is left out."""
        if not self.volumes or volume != self.volumes[-1]:
            self.times.append(round(now, 3))
            self.volumes.append(volume)

    @property
    def reached_s(self) -> float | None:
        """Seconds to the share that ends a search; None: it has not reached it."""
        found = (t for t, v in zip(self.times, self.volumes, strict=True) if v >= SHARE)
        return next(found, None)


class EndedError(Exception):
    """The search ends here."""


class _Counted:
    """A strategy that is asked so often and no more.

    Args:
        inner: The strategy.
        most: How many requests it may make.
        table: What is recorded; a request for what is not costs nothing and does not count.
    """

    def __init__(self, inner: Strategy, most: int, table: Table) -> None:
        self._inner = inner
        self._most = most
        self._table = table
        self.asks = 0
        self.seconds: list[float] = []
        self.busy: list[float] = []

    def ask(self, view: View) -> Request | None:
        """Return the next request; None once there were too many."""
        if self.asks >= self._most:
            return None
        start, busy = time.perf_counter(), time.process_time()
        request = self._inner.ask(view)
        self.seconds.append(time.perf_counter() - start)
        self.busy.append(time.process_time() - busy)
        if request is not None:
            ruled_out = isinstance(request, Start) and self._table.missing(request.candidate)
            self.asks += not ruled_out
        return request

    def tell(self, event: Event) -> None:
        """Pass an event on."""
        self._inner.tell(event)


@dataclass
class Simulation:
    """The real engine over a table.

    Args:
        problem: What is searched for.
        strategy: Name of the strategy, or what makes one from space, objectives, seed and the
            first candidates.
        seed: Of the strategy and of the noise.
        asks: Most requests.
        time_s: Virtual seconds; None: no limit.
        finals_s: Virtual seconds for re-measuring the finalists; 0: none.
        shortcuts: What may be saved.
        stop_at: Share of the hypervolume at which the search ends; None: it goes on.
        scored: Whether the hypervolume is computed at all.
        seen: Called after each outcome; it may end the search by `EndedError`.
        priors: Earlier studies.
    """

    problem: Problem
    strategy: str | Callable[..., Any]
    seed: int
    asks: int = 120
    time_s: float | None = None
    finals_s: float = 0.0
    shortcuts: Shortcuts = Shortcuts()
    stop_at: float | None = SHARE
    scored: bool = True
    seen: Callable[[TrialResult], None] = lambda outcome: None
    priors: Sequence[Prior] = ()
    curve: Curve = field(default_factory=Curve, init=False)
    recorder: InMemory = field(default_factory=InMemory, init=False)
    clock: Clock = field(default_factory=Clock, init=False)

    def __post_init__(self) -> None:
        problem, table = self.problem, self.problem.table
        first = [] if problem.baseline is None else [problem.baseline]
        make = (
            find("strategies", self.strategy) if isinstance(self.strategy, str) else self.strategy
        )
        made = make(space=problem.space, objectives=problem.objectives, seed=self.seed, first=first)
        self.counted = _Counted(as_strategy(made), self.asks, table)
        self.store = VirtualStore(table)
        self.target = VirtualTarget(table, self.store, self.clock, self.seed)
        self.engine = Engine(
            strategy=self.counted,
            target=self.target,
            recorder=self.recorder,
            job_factory=VirtualJobs(self.store, table),
            evaluators=table.evaluators,
            objectives=problem.objectives,
            constraints=problem.constraints,
            look=self._look,
            watcher=Silent(),
            on_outcome=self._after,
            on_update=self._updated,
            baseline=_NO_BASELINE if problem.baseline is None else problem.baseline.digest,
            time_s=self.time_s,
            shortcuts=self.shortcuts,
            noise_floor=table.noise_floor,
            watching=undisturbed,
            finals_s=self.finals_s,
            space=problem.space,
            clock=self.clock,
            priors=self.priors,
        )
        self.target.left = self.engine.left

    def run(self) -> Curve:
        """Search to the end."""
        start = time.process_time()
        with suppress(EndedError):
            self.engine.run()
        self.curve.asks, self.curve.end_s = self.counted.asks, self.clock.now
        self.curve.cpu_s = time.process_time() - start
        return self.curve

    def _look(self, candidate: Candidate) -> Foresight:
        table, recipe = self.problem.table, candidate.recipe
        missing = table.missing(candidate)
        if missing is not None:
            return Foresight(missing)
        prefixes = [recipe[: count + 1] for count in range(len(recipe))]
        return Foresight(
            None, tuple(Estimate(seconds=table.estimate(prefix)) for prefix in prefixes)
        )

    def _after(self, outcome: TrialResult, summary: StudySummary) -> None:
        self._updated(summary)
        self.seen(outcome)

    def _updated(self, summary: StudySummary) -> None:
        if not self.scored:
            return
        front = set(summary.front)
        found = [o.candidate for o in self.recorder.outcomes if o.id in front]
        volume = self.problem.volume(found)
        self.curve.add(self.clock.now, volume)
        if self.stop_at is not None and volume >= self.stop_at:
            raise EndedError
