"""The search's loop: ask, check, build, measure rung by rung, record, tell.

The engine is one client of the strategies' ask and tell. It runs one candidate at a time, so that
nothing else of ours runs while something is timed, and blocks on each job.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property

from paretune.core.candidate import Candidate
from paretune.core.errors import NothingFeasibleError, NothingFitsError
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.confirm.held_out import Confirmation, seconds_of
from paretune.search.confirm.topk import TopK
from paretune.search.process_spreads import refreshed
from paretune.search.reconsider import to_reconsider
from paretune.search.run import OutOfTimeError, SearchRun
from paretune.search.summary import StudySummary, resolve, violations
from paretune.search.time_budget import TimeBudget
from paretune.search.trial import TrialRunner

_FINALS_SHARE = 0.1
"""Of a study's time that is kept for its finals."""


@dataclass
class Engine(SearchRun):
    """Searches one space on one target (`SearchRun` has what it takes)."""

    _remarked: set[str] = field(default_factory=set, init=False)
    _unrecorded: int = field(default=0, init=False)

    def run(self) -> StudySummary:
        """Search until the space, the trials or the time are used up.

        Returns:
            The standing at the end.

        Raises:
            NothingFeasibleError: A constraint is relative to a baseline that has no such metric.
            NothingFitsError: ... because it was ruled out before any job.
            KeyboardInterrupt: As it came; what was in flight is stopped and unrecorded.
        """
        try:
            self._candidates()
            while True:
                for outcome in refreshed(self.recorder.outcomes, self.noise_floor):
                    self.recorder.update(outcome)
                if self.finals_s <= 0:
                    break
                self.time_budget.all_for_finals()
                TopK(self).run()
                if not self.time_budget.try_again(self._fallen()):
                    break
                self._candidates()
            self.time_budget.all()
            Confirmation(self).run()
        except BaseException:
            self.target.cancel()
            raise
        return self.summary()

    @cached_property
    def time_budget(self) -> TimeBudget:
        """What is begun, and when; its clock starts at its first use."""
        return TimeBudget(self, self.again)

    def _candidates(self) -> None:
        """Try one candidate after another while there is one that fits into what is left."""
        while not self._spent():
            candidate = self.time_budget.next()
            if candidate is None:
                break
            self._try(candidate)
            self._need_baseline()
        self.out_of_time |= self.time_budget.lacked_time

    def _fallen(self) -> list[TrialResult]:
        """Return the early stops that the finals' values do not bear out.

        Who beat a candidate may have turned out to be infeasible or slower, or a limit that is
        relative to the baseline may have moved.
        """
        base = self.baseline_outcome()
        known = base is not None and base.kind is OutcomeKind.OK
        specs = [spec for slot in self.evaluators for spec in slot.metrics]
        return to_reconsider(
            self.recorder.outcomes,
            self.summary(),
            self.objectives,
            specs,
            base.measurements if known and base is not None else None,
            self.slack,
            {spec.name: slot.rungs[-1] for slot in self.evaluators for spec in slot.metrics},
            self.evaluators,
        )

    def _need_baseline(self) -> None:
        outcome = self.baseline_outcome()
        if outcome is None:
            return
        limits, unresolved = resolve(self.constraints, outcome)
        for limit in limits:
            if (
                limit.remark is not None
                and not limit.odd_as_written
                and (limit.text not in self._remarked)
            ):
                self._remarked.add(limit.text)
                self.watcher.note(f"note: {limit.remark}")
        if unresolved:
            ended = outcome.kind.value + (f" ({outcome.reason})" if outcome.reason else "")
            never_ran = outcome.kind is OutcomeKind.SKIPPED
            raise (NothingFitsError if never_ran else NothingFeasibleError)(
                f"the baseline has no {unresolved[0].metric}, which the constraint "
                f"{unresolved[0].text!r} is relative to: it ended as {ended}",
                hint="Mend or change the baseline (`baseline:`), or give the constraint a number.",
            )

    @property
    def _for_finals(self) -> float:
        """Seconds that are kept for the finals, unless an answer about two needs more."""
        return min(self.finals_s, _FINALS_SHARE * (self.time_s or 0.0))

    def _spent(self) -> bool:
        self.time_budget.keep(self._for_finals, seconds_of(self))
        left = self.left()
        if left is not None and left <= 0:
            self.out_of_time = True
            return True
        tried = self.recorder.trials() + self._unrecorded
        return self.trials is not None and tried >= self.trials

    def _try(self, candidate: Candidate) -> None:
        """Run one candidate to its outcome; if the time runs out before that there is none."""
        id = self.time_budget.id_of(candidate) or self.recorder.next_id()
        self.watcher.candidate(id, candidate)
        start = time.monotonic()
        try:
            outcome = TrialRunner(self, id, candidate).run()
        except OutOfTimeError:
            self.out_of_time = True
            self._unrecorded += 1
            self.target.cancel()
            self.recorder.waste(time.monotonic() - start)
            return
        except KeyboardInterrupt:
            self.recorder.waste(time.monotonic() - start)
            raise
        self.recorder.record(outcome)
        self.time_budget.learn(outcome)
        summary = self.summary()
        self.strategy.tell(candidate, outcome, violations=violations(outcome, summary.limits))
        self.on_outcome(outcome, summary)
        best = next((o for o in self.recorder.outcomes if o.id == summary.best), None)
        self.watcher.outcome(outcome, best, len(summary.front))

    def left(self) -> float | None:
        """Return the seconds that what runs now may take; None: no limit."""
        return self.time_budget.left()

    def can_measure(self, candidate: Candidate) -> bool:
        """Return whether a built candidate can be measured in the time that is left."""
        return self.time_budget.can_measure(candidate)
