"""Ends a search when what it still gains per minute is below what was asked for.

``search: {stop: {gain_per_minute: 0.5%, after: 10}}``. The gain is in the hypervolume of the
feasible candidates, as a share of today's (`search/progress.py`).

- A strategy that has ``expected_gain(view)`` gives what it expects. If it returns None, or has no
  such method, the gain of the last trials decides: of the last ``after`` trials, over the
  time from the end of the trial before them to the end of the last one.
- Nothing is judged before the baseline and ``after`` more trials have ended, nor as long as nothing
  is feasible.

What the rule reads are the outcomes, so that a study that it has ended is ended by it again, until
the rule is changed or removed. What was measured when it ended the study may be measured again
afterwards (the finalists); so ``ended`` in ``results.json`` says so, and holds as long as the rule
and the number of outcomes are the same.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from paretune.core.jsontools import Json
from paretune.core.result import TrialResult
from paretune.search.constraints import Objective
from paretune.search.outcomes import arrived, era
from paretune.search.progress import Progress, ended, progress
from paretune.search.strategies.base import View
from paretune.search.summary import StudySummary

AFTER = 10
"""Trials over which the gain is taken, where nothing else is asked for."""
EndedBy = Literal["space", "trials", "time", "stop", "interrupt"]


@runtime_checkable
class ExpectsGain(Protocol):
    """A strategy that can say what the next minute will gain."""

    def expected_gain(self, view: View) -> float | None:
        """Return the expected gain per minute, as a share of today's feasible hypervolume.

        Args:
            view: What it can read.

        Returns:
            None: it cannot say yet.
        """


@dataclass(frozen=True)
class StopRule:
    """When a search has gained enough.

    Attributes:
        gain_per_minute: Share of the feasible hypervolume below which it ends.
        after: Trials beside the baseline before which it never ends; also those whose gain counts.
    """

    gain_per_minute: float
    after: int = AFTER

    def to_json(self) -> dict[str, Json]:
        """Return it as a configuration has it."""
        return {"gain_per_minute": self.gain_per_minute, "after": self.after}


class Stopping:
    """Decides whether a search goes on.

    Args:
        rule: The rule; None: it always goes on.
        objectives: In order of importance.
        baseline: Digest of the baseline candidate.
        stopped: Number of outcomes at which this rule has ended the study before; None: it has not.
    """

    def __init__(
        self,
        rule: StopRule | None = None,
        objectives: Sequence[Objective] = (),
        baseline: str = "",
        stopped: int | None = None,
    ) -> None:
        self._rule, self._objectives, self._baseline = rule, tuple(objectives), baseline
        self._stopped = stopped
        self._judged = -1
        self._ends: list[float] = []
        self._mark: object = None
        self._count = self._untimed = 0
        self._with_baseline = False
        self._curve: tuple[tuple[int, ...], Progress] = ((), Progress())
        self.reason: str | None = None
        """Why the search ended; None: it goes on."""

    def ends(
        self,
        outcomes: Sequence[TrialResult],
        summary: StudySummary,
        strategy: object,
        view: View,
    ) -> bool:
        """Return whether nothing more is begun.

        Args:
            outcomes: All of the study's.
            summary: Derived from them.
            strategy: It may say what it expects.
            view: What the strategy can read.
        """
        rule = self._rule
        if rule is None or self.reason is not None:
            return self.reason is not None
        if self._stopped == len(outcomes):
            self.reason = f"it had ended by {_shown(rule)} before, and nothing has changed"
            return True
        if self._judged == len(outcomes) or summary.best is None:
            return False
        self._look_at(outcomes)
        others = len(self._ends) - self._with_baseline
        if others < rule.after or not self._with_baseline:
            return False
        self._judged = len(outcomes)
        expected = strategy.expected_gain(view) if isinstance(strategy, ExpectsGain) else None
        if expected is not None:
            gain, told = expected, "the strategy expects"
        else:
            last, before = self._ends[-1], self._ends[-1 - rule.after]
            if self._curve[0] != summary.front:
                self._curve = summary.front, progress(outcomes, summary, self._objectives)
            gain = self._curve[1].gained_since(before) * 60 / max(last - before, 1e-9)
            told = f"the last {rule.after} trials gained"
        if gain < rule.gain_per_minute:
            self.reason = (
                f"{told} {gain:.2%} of the hypervolume per minute, less than the "
                f"{rule.gain_per_minute:.4g} of `search: {{stop: ...}}`"
            )
        return self.reason is not None

    def _look_at(self, outcomes: Sequence[TrialResult]) -> None:
        """Take what is new into the moments at which trials ended, in order."""
        came = arrived(outcomes)
        new = [came[place] for place in range(self._count, len(came))]
        # Where an outcome does not say when it ended, those with lower numbers tell.
        if era(outcomes) != self._mark or any(
            o.ended_s is None or o.id < self._untimed for o in new
        ):
            self._untimed = max((o.id for o in outcomes if o.ended_s is None), default=0)
            timed = [(at, o) for at, o in ended(outcomes) if _counts(o)]
            self._with_baseline = False
            self._ends = [at for at, _ in timed]
            new = [o for _, o in timed]
        else:
            new = [o for o in new if _counts(o)]
            for outcome in new:
                bisect.insort(self._ends, outcome.ended_s or 0.0)
        self._with_baseline |= any(o.candidate.digest == self._baseline for o in new)
        self._mark, self._count = era(outcomes), len(came)


def _counts(outcome: TrialResult) -> bool:
    return outcome.is_trial and not outcome.not_promoted


def stopped_at(found: Mapping[str, Json] | None, rule: StopRule | None) -> int | None:
    """Return at how many outcomes a rule has ended a study before; None: it has not.

    Args:
        found: ``ended`` of the study's ``results.json``.
        rule: Today's.
    """
    if found is None or rule is None or found.get("by") != "stop":
        return None
    return found.get("outcomes") if found.get("stop") == rule.to_json() else None


def _shown(rule: StopRule) -> str:
    return f"`stop: {{gain_per_minute: {rule.gain_per_minute:g}, after: {rule.after}}}`"
