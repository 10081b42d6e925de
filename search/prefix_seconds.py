"""What each prefix of a recipe took when this study built it, at the cost of what is new."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from paretune.core.candidate import Candidate, Step
from paretune.core.result import TrialResult
from paretune.search.forecast import built_seconds
from paretune.search.outcomes import arrived, era
from paretune.search.trial_state import Trial

_Key = tuple[str, tuple[Step, ...]]


class PrefixSeconds:
    """Remembers the seconds of each prefix: of the last trial that built it."""

    def __init__(self) -> None:
        self._mark: object = None
        self._count = 0
        self._seconds: dict[_Key, float] = {}
        self._of_trials: dict[int, tuple[Trial, dict[_Key, float]]] = {}

    def of(
        self, candidate: Candidate, outcomes: Sequence[TrialResult], trials: Iterable[Trial]
    ) -> list[float | None]:
        """Return the seconds of each step of a candidate's recipe; None where it was not built.

        Args:
            candidate: The candidate.
            outcomes: Of the study.
            trials: Those without an outcome, which count before the outcomes do.
        """
        if era(outcomes) != self._mark:
            self._mark, self._count, self._seconds = era(outcomes), 0, {}
        came = arrived(outcomes)
        for place in range(self._count, len(came)):
            self._seconds |= _built(came[place])
        self._count = len(came)
        now: dict[_Key, float] = {}
        for trial in trials:
            now |= self._of(trial)
        provider = candidate.runtime.provider
        keys = [(provider, candidate.recipe[: place + 1]) for place in range(len(candidate.recipe))]
        return [now.get(key, self._seconds.get(key)) for key in keys]

    def _of(self, trial: Trial) -> dict[_Key, float]:
        """Return what a trial without an outcome has built; a paused one is asked often."""
        known = self._of_trials.get(trial.id)
        if known is None or known[0] is not trial:
            known = self._of_trials[trial.id] = (trial, _built(trial))
        return known[1]


def _built(trial: TrialResult | Trial) -> dict[_Key, float]:
    recipe, provider = trial.candidate.recipe, trial.candidate.runtime.provider
    return {
        (provider, recipe[: place + 1]): step.s / (1 - step.resumed)
        for place, step in enumerate(built_seconds(trial))
        if step.resumed < 1
    }
