"""Keeps builds in flight, and measures one trial at a time.

While a device measures, nothing else of the search runs on that machine. Where builds and
measurements share a machine, builds therefore run in groups: up to N of them in parallel, and when
all have ended, what they built is measured, one trial after another. Where builds run on another
machine, they continue while a trial is measured; free slots are filled before each measurement.
With one slot it is one trial after another, each from its build to its end.

A candidate whose next prefix is being built by a trial in flight waits for it without a slot: each
prefix is built once.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, field, replace
from functools import cached_property

from paretune.core.candidate import Candidate
from paretune.core.errors import UsageError
from paretune.core.measurement import Rung
from paretune.core.result import TrialResult, uncached_seconds
from paretune.core.target import builds_apart
from paretune.search.confirm.own_measurements import OwnMeasurements
from paretune.search.jobs import Resumes, same_run
from paretune.search.outcomes import with_id
from paretune.search.prefix_seconds import PrefixSeconds
from paretune.search.progress import RunningProgress, ShowsProgress
from paretune.search.run import OutOfTimeError, SearchRun
from paretune.search.search_view import SearchView
from paretune.search.strategies.base import Ended, Promote, Request, Start
from paretune.search.summary import violations
from paretune.search.time_budget import TimeBudget
from paretune.search.trial import TrialRunner
from paretune.search.trial_state import Trial

_SAVING_S = 30.0
"""How long is waited for builds that were asked to end."""
_DEADLINE_S = 0.05
"""Less time than this is none: a wait may return early by about as much."""


@dataclass
class _Flight:
    """A trial in flight: its build runs, or it waits to be measured."""

    begun: Trial
    runner: TrialRunner
    until: Rung
    beside: bool
    """Whether it ran beside another trial, so that the sum of its steps is not wall time."""

    @property
    def id(self) -> int:
        return self.begun.id

    @property
    def building(self) -> bool:
        future = self.runner.building
        return future is not None and not future.done()

    @property
    def unbuilt(self) -> bool:
        return self.building or self.runner.to_build

    @property
    def measurable(self) -> bool:
        return not self.building and not self.runner.awaits_build


@dataclass
class Scheduler:
    """Runs the trials that the strategy of a search asks for.

    Attributes:
        search: The search.
        budget: What is begun with the time that is left.
        unrecorded: Trials that ran a job and have no outcome, as the time ran out.
    """

    search: SearchRun
    budget: TimeBudget
    unrecorded: int = 0
    _flights: list[_Flight] = field(default_factory=list)
    _waiting: list[Start] = field(default_factory=list)
    _charged: float = 0.0
    _shown: int | None = None
    _prefixes: PrefixSeconds = field(default_factory=PrefixSeconds)

    @cached_property
    def _progress(self) -> RunningProgress:
        return RunningProgress(self.search.objectives, self.search.prefer)

    def run(self) -> None:
        """Run trials while there is one that fits into what is left.

        Raises:
            KeyboardInterrupt: As it came; what is in flight is stopped and unrecorded.
        """
        self.search.before_measuring = self._fill if self._apart else lambda: None
        try:
            while True:
                self._fill()
                if not self._flights:
                    return
                try:
                    flight = self._built()
                except OutOfTimeError:
                    self._stop()
                    continue
                self._measure(flight)
        except KeyboardInterrupt:
            self._waste()
            raise
        finally:
            self.search.before_measuring = lambda: None

    def end_paused(self) -> None:
        """Record the trials that are still paused; they can be continued nevertheless."""
        recorder = self.search.recorder
        known = {outcome.id: outcome for outcome in recorder.outcomes}
        for trial in list(recorder.paused.values()):
            if trial.id not in known or known[trial.id].rung != trial.rung:
                self._record(trial.not_promoted())

    @cached_property
    def _own_measurements(self) -> OwnMeasurements:
        return OwnMeasurements(self.search)

    @property
    def _apart(self) -> bool:
        return builds_apart(self.search.target)

    def _fill(self) -> None:
        """Begin what there are slots for: builds of trials in flight first."""
        for flight in self._flights:
            if flight.runner.awaits_build and self._may_build():
                flight.runner.build()
        while self._may_begin():
            request = self._request()
            if request is None:
                return
            self._begin(request)

    def _may_begin(self) -> bool:
        return len(self._flights) < 2 * self.search.builds and self._may_build()

    def _may_build(self) -> bool:
        """Return whether a build may begin: there is a slot, and a group of builds is going on."""
        building = sum(flight.building for flight in self._flights)
        together = building > 0 or not any(flight.measurable for flight in self._flights)
        return building < self.search.builds and (self._apart or together)

    def _request(self) -> Request | None:
        """Return what is begun next; once the trials are used up, they can be promoted only."""
        if not self.search.has_time():
            return None
        if self._may_start():
            # One look at what is being built, so that no request overtakes one that waits.
            building = [f.runner.trial.candidate for f in self._flights if f.unbuilt]
            return self._unblocked(building) or self._ask(building)
        view = self.view()
        return self.budget.promotion(view) if view.paused else None

    def _may_start(self) -> bool:
        paused = self.search.recorder.paused
        beside = sum(flight.id not in paused for flight in self._flights)
        return self.search.has_trials(self.unrecorded + beside)

    def _unblocked(self, building: Sequence[Candidate]) -> Start | None:
        """Return the first candidate that waited for a prefix and need not any more."""
        for request in self._waiting if self.search.stopping.reason is None else ():
            if not self._blocked(request.candidate, building):
                self._waiting.remove(request)
                return request
        return None

    def _ask(self, building: Sequence[Candidate]) -> Request | None:
        """Return the next request; candidates whose prefix is being built are put off."""
        while len(self._waiting) < 2 * self.search.builds:
            request = self.budget.next(self.view())
            if not isinstance(request, Start) or not self._blocked(request.candidate, building):
                return request
            self._waiting.append(request)
        return None

    def _blocked(self, candidate: Candidate, building: Sequence[Candidate]) -> bool:
        """Return whether one of those builds the first prefix that the store lacks."""
        if not building:
            return False
        factory = self.search.job_factory
        prefix = candidate.recipe[: factory.built_steps(candidate) + 1]
        return bool(prefix) and any(
            same_run(factory, other.recipe[: len(prefix)], prefix) for other in building
        )

    def view(self) -> SearchView:
        """Return what the strategy can read."""
        building = sum(flight.building for flight in self._flights)
        open_trials = dict(self.search.recorder.paused)
        open_trials |= {flight.id: flight.runner.trial for flight in self._flights}
        running = {flight.id for flight in self._flights}
        paused = sorted(set(open_trials) - running)
        free = self.search.builds - building
        return SearchView(
            self.search,
            self.search.space,
            self.budget,
            free,
            open_trials,
            paused,
            self._may_start(),
            self._prefixes,
        )

    def _begin(self, request: Request) -> None:
        search = self.search
        if isinstance(request, Promote):
            trial = search.recorder.paused.get(request.trial)
            if trial is None or any(flight.id == request.trial for flight in self._flights):
                raise UsageError(
                    f"the strategy promotes trial {request.trial}, which is not paused",
                    hint="A strategy promotes the trials in `view.paused`.",
                )
        else:
            candidate = request.candidate
            id = self.budget.id_of(candidate)
            if id is None:
                id = search.new_id(candidate, [flight.id for flight in self._flights])
            trial = Trial(id, candidate, forecast=request.forecast)
        trial = replace(trial, asked_s=self.budget.asked_s(trial.asked_s))
        if not self._flights:
            self._charged = self.search.clock()
        is_baseline = trial.candidate.digest == search.baseline
        until = Rung.FULL if is_baseline else request.until
        self._show(trial)
        runner = TrialRunner(search, trial, search.strategy.tell)
        flight = _Flight(trial, runner, until, bool(self._flights))
        for other in self._flights:
            other.beside = True
        self._flights.append(flight)
        result = runner.start()
        if result is not None:
            self._end(flight, result)

    def _show(self, trial: Trial) -> None:
        self._shown = trial.id
        self.search.watcher.candidate(trial.id, trial.candidate)

    def _built(self) -> _Flight:
        """Return the next trial to be measured, once nothing else runs on its machine.

        Raises:
            OutOfTimeError: The time ran out before.
        """
        while True:
            running = [f for f in self._flights if f.building]
            ready = [f for f in self._flights if f.measurable]
            if ready and (self._apart or not running):
                return min(ready, key=lambda f: f.id)
            futures = [f.runner.building for f in running]
            done = wait(
                [future for future in futures if future is not None],
                self.search.left(),
                return_when=FIRST_COMPLETED,
            ).done
            if not done:
                raise OutOfTimeError
            self._fill()

    def _measure(self, flight: _Flight) -> None:
        """Continue a built trial up to its rung; if the time runs out before, it has no outcome."""
        if self._shown != flight.id:  # others began meanwhile
            self._show(flight.begun)
        try:
            result = flight.runner.run(flight.until)
        except OutOfTimeError:
            self._stop(flight)
            return
        if result is not None:
            self._end(flight, result)
            if self.search.finals_s <= 0:
                self._own_measurements.run()
                self._charged = self.search.clock()
            return
        if flight.runner.awaits_build:
            return
        self._flights.remove(flight)
        trial = flight.runner.trial
        self.search.recorder.pause(replace(trial, wall_s=self._wall(flight, trial)))

    def _wall(self, flight: _Flight, now: Trial | TrialResult) -> float | None:
        """Return the wall seconds of a trial, if others ran beside it or it waited for a machine.

        The time since the last trial ended or was paused is charged to this one, so that time in
        which several of them ran counts once.
        """
        start, self._charged = self._charged, self.search.clock()
        begun = flight.begun
        if flight.beside or flight.runner.waited:
            return begun.spent_s + self._charged - start
        if begun.wall_s is None:
            return None
        return begun.wall_s + uncached_seconds(now.seconds[len(begun.seconds) :])

    def _end(self, flight: _Flight, result: TrialResult) -> None:
        self._flights.remove(flight)
        self._record(replace(result, wall_s=self._wall(flight, result)))
        self.search.check_baseline()

    def _record(self, result: TrialResult) -> None:
        search = self.search
        beyond = result.candidate.digest in search.beyond_trials
        result = replace(result, ended_s=self.budget.spent(), beyond_trials=beyond)
        known = with_id(search.recorder.outcomes, result.id) is not None
        search.recorder.record(result)
        # As it is kept from now on: a study leaves its raw samples on disk.
        result = with_id(search.recorder.outcomes, result.id) or result
        self.budget.learn(result)
        summary = search.summary()
        if not result.not_promoted:
            search.strategy.tell(Ended(result, violations(result, summary.limits)))
        search.on_outcome(result, summary)
        if known:
            search.on_update(summary)
        best = with_id(search.recorder.outcomes, summary.best)
        if isinstance(search.watcher, ShowsProgress):
            curve = self._progress.of(search.recorder.outcomes, summary)
            search.watcher.so_far(curve, self.budget.spent())
        search.watcher.outcome(result, best, len(summary.front))

    def _stop(self, flight: _Flight | None = None) -> None:
        """Stop what is in flight at the deadline; before it, only a trial that cannot end in time.

        What was paused before is still paused.
        """
        self.search.out_of_time = True
        left = self.search.left()
        alone = flight is not None and left is not None and left > _DEADLINE_S
        stopped = [flight] if alone and flight is not None else list(self._flights)
        if stopped == self._flights:
            self.search.target.cancel()
            if isinstance(self.search.job_factory, Resumes):
                # A build may save its state first; nothing is measured beside it.
                futures = [f.runner.building for f in stopped if f.building]
                wait([future for future in futures if future is not None], _SAVING_S)
        self._waste()
        for each in stopped:
            self._flights.remove(each)
            self.unrecorded += each.id not in self.search.recorder.paused

    def _waste(self) -> None:
        """Add the time since the last outcome to what is spent."""
        if self._flights:
            start, self._charged = self._charged, self.search.clock()
            self.search.recorder.waste(self._charged - start)
