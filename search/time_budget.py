"""What is begun next, with the time that is left: nothing that cannot end in it.

The baseline comes first, then what is tried again, then what the strategy proposes. A candidate
that does not fit into the time left is set aside, and the next one is checked: one whose prefix
is built already takes a fraction. If a strategy proposes only what does not fit, candidates come
next that begin as the best ones do. A part of the time is kept for the finalists
(`search/finals_time.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from paretune.core.candidate import Candidate
from paretune.core.errors import NothingFitsError
from paretune.core.measurement import Rung
from paretune.core.result import TrialResult
from paretune.search.finals_time import FinalsTime
from paretune.search.forecast import Forecast, Need, left_out
from paretune.search.jobs import resumed_share
from paretune.search.outcomes import skipped
from paretune.search.parent_first import ParentFirst
from paretune.search.prefixes import beginning_as_the_best
from paretune.search.run import SearchRun
from paretune.search.strategies.base import Promote, Request, Start, View
from paretune.search.trial_state import Trial, rung_number

T = TypeVar("T")
_BEGUN_ANYWAY_S = 2.0
"""What takes no longer is begun while any time is left: a forecast is not more exact than that."""
_ASKING_SHARE = 0.05
_ASKING_S = 2.0
_ASKED = 10_000
"""How long, and how many, proposals that do not fit are passed over at once."""
_LISTED_SKIPPED = 50
_LISTED_A_TRIAL = 10
"""Candidates that were ruled out before any job and are recorded: at least, and for each trial."""
_SCANNED, _SCANNED_S = 10_000, 30.0
"""How many more are checked, without a record, for one that fits."""


class TimeBudget:
    """Chooses what is begun, for one run of a search.

    Args:
        engine: The search.
        again: Outcomes that do not stand today: their candidates are tried again, under their
            numbers. They stay on record until then.
    """

    def __init__(self, engine: SearchRun, again: Sequence[TrialResult] = ()) -> None:
        self._engine = engine
        self._again = {outcome.candidate.digest: outcome for outcome in again}
        self._ids = {digest: outcome.id for digest, outcome in self._again.items()}
        self._aside: list[Request] = []
        self._chosen: set[str] = set()
        self._more = True
        self._needs: dict[str, tuple[Need, float]] = {}
        self._unlisted: Counter[str] = Counter()
        self._asking_s: float | None = None
        limit = engine.time_s
        self._zero = engine.clock() - engine.recorder.spent()
        self.deadline = None if limit is None else self._zero + limit
        self._end = self.deadline
        self._confirmation = 0.0
        self._finals = FinalsTime(engine)
        self._forecast: Forecast | None = None
        if self.deadline is not None:
            info = engine.target.info()
            self._forecast = Forecast(
                engine.look, engine.evaluators, gpu=bool(info.gpus), cores=info.cores
            )
            for outcome in engine.recorder.outcomes:
                self._forecast.learn(outcome)

    def left(self) -> float | None:
        """Return the seconds that what runs now may take; None: no limit."""
        return None if self._end is None else max(0.0, self._end - self._engine.clock())

    def spent(self) -> float:
        """Return the seconds that the study has spent until now."""
        return self._engine.clock() - self._zero

    def asked_s(self, before: float | None = None) -> float | None:
        """Return the seconds of the strategy's answers since this was read last.

        Args:
            before: To be added; None: there is nothing.

        Returns:
            None: there is nothing, and it was not asked.
        """
        found, self._asking_s = self._asking_s, None
        return before if found is None else found + (before or 0.0)

    def keep(self, finalists: float, confirmation: float = 0.0) -> None:
        """From now on leave time to what comes last.

        Args:
            finalists: Seconds to re-measure the finalists, if anything is undecided; more, up to
                what they may take at all, if an answer about two candidates needs more.
            confirmation: Seconds for the confirmation of the pick.
        """
        engine, self._confirmation = self._engine, confirmation
        if self.deadline is None:
            return
        assert engine.time_s is not None
        self._end = self.deadline - confirmation - self._finals.keep(finalists, engine.time_s)

    def all_for_finals(self) -> None:
        """From now on all may be used of the time that is left but what the confirmation needs."""
        self._end = None if self.deadline is None else self.deadline - self._confirmation

    def for_finalists(self) -> float:
        """Return the seconds for the finalists: all that are left, if no candidate fits in them."""
        most, left = self._engine.finals_s, self.left()
        return max(most, left) if left is not None and self.lacked_time else most

    def all(self) -> None:
        """From now on all of the time that is left may be used."""
        self._end = self.deadline

    def id_of(self, candidate: Candidate) -> int | None:
        """Return the number that a candidate had before, if it is tried again."""
        return self._ids.get(candidate.digest)

    def try_again(self, outcomes: Sequence[TrialResult]) -> int:
        """Have more candidates tried again; returns how many of them were not before."""
        new = [o for o in outcomes if o.candidate.digest not in self._ids]
        self._again |= {outcome.candidate.digest: outcome for outcome in new}
        self._ids |= {outcome.candidate.digest: outcome.id for outcome in new}
        return len(new)

    def learn(self, outcome: TrialResult) -> None:
        """Take into account what a candidate has taken."""
        if self._forecast is not None:
            self._forecast.learn(outcome)

    def next(self, view: View) -> Request | None:
        """Return what to begin; None if there is nothing, or nothing that fits into the time.

        Args:
            view: What the strategy can read.

        Raises:
            NothingFitsError: The baseline does not fit, and constraints are relative to it.
        """
        for digest, outcome in sorted(self._again.items(), key=self._baseline_first):
            if self._fits(outcome.candidate, committed=self._committed(view)):
                del self._again[digest]
                return Start(outcome.candidate, forecast=outcome.forecast)
        if self._stops(view):
            return None
        return self._proposal(view) or self._from_aside(view) or self._cheap_one(view)

    def promotion(self, view: View) -> Promote | None:
        """Return a promotion that fits into the time; a candidate is set aside, not begun.

        Args:
            view: What the strategy can read.
        """
        request = None if self._stops(view) else self._answer(view)
        if isinstance(request, Promote) and self._request_fits(request, view):
            return request
        if request is not None:
            self._aside.append(request)
        return None

    def _stops(self, view: View) -> bool:
        """Return whether the rule that was asked for ends the search."""
        engine = self._engine
        return self._timed(
            lambda: engine.stopping.ends(
                engine.recorder.outcomes, engine.summary(), engine.strategy, view
            )
        )

    def _answer(self, view: View) -> Request | None:
        """Return what the strategy asks for."""
        return self._timed(lambda: self._engine.strategy.ask(view))

    def _timed(self, ask: Callable[[], T]) -> T:
        """Let the strategy answer, while nothing is timed on this machine."""
        with self._engine.choosing():
            start = self._engine.clock()
            found = ask()
            self._asking_s = (self._asking_s or 0.0) + self._engine.clock() - start
        return found

    def _baseline_first(self, item: tuple[str, TrialResult]) -> tuple[bool, int]:
        return item[0] != self._engine.baseline, item[1].id

    def _proposal(self, view: View) -> Request | None:
        """Return the first request that fits; the others are set aside."""
        start, left = self._engine.clock(), self.left()
        patience = max(_ASKING_S, _ASKING_SHARE * (left or 0.0))
        self._more, known = True, self._chosen | self._again.keys()
        for _ in range(_ASKED):
            request = self._ask(view)
            if request is None:
                self._more = False
                return None
            if isinstance(request, Start) and request.candidate.digest in known:
                continue  # it does not fit, see `next`, or was begun without being proposed
            if self._request_fits(request, view):
                return request
            if isinstance(request, Promote) and request in self._aside:  # it asks for it again
                break
            self._aside.append(request)
            if self._engine.clock() - start > patience:
                break
        return None

    def _cheap_one(self, view: View) -> Start | None:
        """Return a candidate that fits, where the strategy did not get to one in time.

        It begins as one of the best candidates does, so that the store has a part of it.
        """
        if not self._more or self._forecast is None:
            return None
        known = {trial.candidate.digest for trial in view.trials.values()}
        known |= {r.candidate.digest for r in self._aside if isinstance(r, Start)}
        known |= self._chosen | self._again.keys()
        for candidate in beginning_as_the_best(self._engine, known):
            if self._engine.look(candidate).reason is None and self.fits(candidate, view):
                self._chosen.add(candidate.digest)
                return Start(candidate)
        return None

    def _ask(self, view: View) -> Request | None:
        """Return the next request of the strategy.

        With `trials`, candidates that are ruled out before any job are recorded in proportion to
        them; further ones are checked only, until one fits or there were too many.
        """
        engine, start = self._engine, self._engine.clock()
        while True:
            request = self._answer(view)
            if not isinstance(request, Start) or not self._enough_skipped():
                return request
            reason = engine.look(request.candidate).reason
            if reason is None:
                stop = ParentFirst(engine, Trial(0, request.candidate)).look()
                if stop is None:
                    return request
                reason = stop.reason
            self._unlisted[reason] += 1
            if self._unlisted.total() >= _SCANNED or engine.clock() - start > _SCANNED_S:
                return None

    def _enough_skipped(self) -> bool:
        trials = self._engine.trials
        if trials is None:
            return False
        ruled_out = skipped(self._engine.recorder.outcomes)
        return ruled_out >= max(_LISTED_SKIPPED, _LISTED_A_TRIAL * trials)

    def _from_aside(self, view: View) -> Request | None:
        """Return what was set aside and fits after all: a pace was learned, a prefix was built."""
        for request in self._aside:
            if isinstance(request, Promote) and request.trial not in view.paused:
                continue
            if self._request_fits(request, view):
                self._aside.remove(request)
                return request
        return None

    def _request_fits(self, request: Request, view: View) -> bool:
        """Return whether a request can be met in the time that is left."""
        done = -1
        if isinstance(request, Promote):
            trial = view.trials.get(request.trial)
            if trial is None:  # reported where it is begun
                return True
            candidate = trial.candidate
            done = -1 if trial.rung is None else rung_number(trial.rung)
        else:
            candidate = request.candidate
        last = rung_number(request.until)
        rungs = [rung for rung in Rung if done < rung_number(rung) <= last]
        return self._fits(candidate, rungs, self._committed(view))

    def _committed(self, view: View) -> float:
        """Return the seconds to measure the trials in flight, one after another."""
        if self._forecast is None:
            return 0.0
        flying = (trial for id, trial in view.trials.items() if id not in view.paused)
        return sum(self._forecast.measuring_s(trial.candidate) for trial in flying)

    def _fits(
        self,
        candidate: Candidate,
        rungs: Collection[Rung] = tuple(Rung),
        committed: float = 0.0,
    ) -> bool:
        """Return whether a candidate can be measured in the time that is left, by all estimates.

        Args:
            candidate: The candidate.
            rungs: Those that are measured.
            committed: Seconds that trials in flight need before it.

        Raises:
            NothingFitsError: It is the baseline, does not, and constraints are relative to it.
        """
        need = self._excess(candidate, rungs, committed)
        if need is None:
            self._needs.pop(candidate.digest, None)
            return True
        self.leave_out(candidate, need)
        self._need_baseline(candidate, need, self.left() or 0.0)
        return False

    def fits(self, candidate: Candidate, view: View) -> bool:
        """Return whether a candidate can end in the time that is left; nothing is noted.

        Args:
            candidate: The candidate.
            view: What the strategy can read.
        """
        return self._excess(candidate, tuple(Rung), self._committed(view)) is None

    def _excess(
        self, candidate: Candidate, rungs: Collection[Rung], committed: float
    ) -> Need | None:
        """Return what a candidate needs, if that is more than the time that is left."""
        left = self.left()
        if left is None or self._forecast is None:
            return None
        foresight = self._engine.look(candidate)
        if foresight.reason is not None:  # it ends at once
            return None
        factory = self._engine.job_factory
        built, resumed = factory.built_steps(candidate), resumed_share(factory, candidate)
        need = self._forecast.need(candidate, foresight, built, rungs, resumed)
        return None if need.seconds <= max(left - committed, _BEGUN_ANYWAY_S) else need

    def _need_baseline(self, candidate: Candidate, need: Need, left: float) -> None:
        engine = self._engine
        relative = next((c for c in engine.constraints if c.relative is not None), None)
        if candidate.digest != engine.baseline or relative is None:
            return
        raise NothingFitsError(
            f"the baseline cannot end in the time: it takes about {need.seconds:.0f} s, most of "
            f"it for {need.main}, and {left:.0f} s are left; the constraint {relative.text!r} is "
            "relative to it",
            hint="Give more time (--time), or name a cheaper recipe under `baseline:`.",
        )

    def can_measure(self, candidate: Candidate) -> bool:
        """Return whether a candidate that is built can be measured in the time that is left.

        Its builds are paid, so that the finalists may lend it some of their time.
        """
        if self._end is None or self._forecast is None or candidate.digest == self._engine.baseline:
            return True
        seconds = self._forecast.measuring_s(candidate)
        lacking = seconds - (self._end - self._engine.clock())
        if lacking <= 0 or seconds <= _BEGUN_ANYWAY_S:
            return True
        # What it takes over, it has to measure itself before it is chosen.
        itself = self._forecast.measuring_s(candidate, takes_over=False) - seconds
        if self._finals.lend(lacking, itself):
            self._end += lacking
            return True
        self.leave_out(candidate, Need(seconds, (("measuring", seconds),)))
        return False

    def leave_out(self, candidate: Candidate, need: Need) -> None:
        """Note that a candidate is not begun, or not gone on with, for lack of time."""
        self._needs[candidate.digest] = (need, self.left() or 0.0)

    @property
    def lacked_time(self) -> bool:
        """Whether a candidate was left out for lack of time."""
        return bool(self._needs)

    def left_out(self) -> list[str]:
        """Return what was left out in this run, and why, a sentence each."""
        by_main: dict[str, list[tuple[Need, float]]] = {}
        for need, left in self._needs.values():
            by_main.setdefault(need.main, []).append((need, left))
        lines = left_out(by_main)
        if self._again:
            ids = ", ".join(str(id) for id in sorted(o.id for o in self._again.values()))
            lines.append(
                f"to be tried again, as their ends do not stand today: candidates {ids}; their "
                "earlier outcomes are shown. Give more --time or --trials"
            )
        if self._unlisted:
            reason, count = self._unlisted.most_common(1)[0]
            lines.append(
                f"{self._unlisted.total()} more candidates were ruled out before any job, and are "
                f"not listed ({count} x {reason})"
            )
        return lines
