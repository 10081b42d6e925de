"""A search from its first trial to the confirmation of the pick.

Trials are run by the scheduler (`search/scheduler.py`); then the finalists are measured again, and
trials that they bring back are run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from paretune.core.candidate import Candidate
from paretune.core.errors import NothingFeasibleError, NothingFitsError
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.confirm.held_out import Confirmation, seconds_of
from paretune.search.confirm.own_measurements import OwnMeasurements
from paretune.search.confirm.topk import TopK
from paretune.search.process_spreads import refreshed
from paretune.search.reconsider import to_reconsider
from paretune.search.repeated_pick import kept_for_repeats
from paretune.search.run import SearchRun
from paretune.search.scheduler import Scheduler
from paretune.search.stop_rule import EndedBy
from paretune.search.summary import StudySummary, resolve
from paretune.search.time_budget import TimeBudget

_FINALS_SHARE = 0.1
"""Share of a study's time that is reserved for re-measuring the finalists."""


@dataclass
class Engine(SearchRun):
    """Searches one space on one target (`SearchRun` has what it takes)."""

    _remarked: set[str] = field(default_factory=set, init=False)

    def run(self) -> StudySummary:
        """Search until the space, the trials or the time are used up.

        Returns:
            The summary at the end.

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
                self.time_budget.all_for_finals()
                OwnMeasurements(self).run(near=True)
                if self.finals_s <= 0:
                    break
                TopK(self, self.time_budget.for_finalists()).run()
                OwnMeasurements(self).run()
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

    @cached_property
    def scheduler(self) -> Scheduler:
        """What runs the trials."""
        return Scheduler(self, self.time_budget)

    def _candidates(self) -> None:
        """Run trials while there is one that fits; those that stay paused are not promoted."""
        self.scheduler.run()
        self.out_of_time |= self.time_budget.lacked_time
        self.scheduler.end_paused()

    def ended_by(self) -> EndedBy:
        """Return what ended the search."""
        if self.stopping.reason is not None:
            return "stop"
        if not self.has_trials():
            return "trials"
        return "time" if self.out_of_time else "space"

    def _fallen(self) -> list[TrialResult]:
        """Return the early stops that the re-measured values do not confirm.

        The candidate that dominated another may be infeasible or slower by now, or a limit that is
        relative to the baseline may have changed.
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

    def check_baseline(self) -> None:
        """Refuse to continue if a constraint is relative to a metric that the baseline lacks."""
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
                hint="Fix or change the baseline (`baseline:`), or give the constraint a number.",
            )

    @property
    def _for_finals(self) -> float:
        """Seconds reserved for the re-measurement, unless an answer about two needs more."""
        return min(self.finals_s, _FINALS_SHARE * (self.time_s or 0.0))

    def has_time(self) -> bool:
        """Return whether any of the study's time is left, beside what comes at its end."""
        self.time_budget.keep(self._for_finals, seconds_of(self) + kept_for_repeats(self))
        left = self.left()
        if left is not None and left <= 0:
            self.out_of_time = True
            return False
        return True

    def left(self) -> float | None:
        """Return the seconds that what runs now may take; None: no limit."""
        return self.time_budget.left()

    def can_measure(self, candidate: Candidate) -> bool:
        """Return whether a built candidate can be measured in the time that is left."""
        return self.time_budget.can_measure(candidate)
