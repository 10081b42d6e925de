"""What each prefix of a recipe took when this study built it, at the cost of what is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
        self._open: Mapping[int, Trial] = {}
        self._built_by_open: dict[_Key, float] = {}

    def of(
        self, candidate: Candidate, outcomes: Sequence[TrialResult], trials: Mapping[int, Trial]
    ) -> list[float | None]:
        """Return the seconds of each step of a candidate's recipe; None where it was not built.

        Args:
            candidate: The candidate.
            outcomes: Of the study.
            trials: Those without an outcome, which count before the outcomes do. The same mapping
                has the same trials.
        """
        if era(outcomes) != self._mark:
            self._mark, self._count, self._seconds = era(outcomes), 0, {}
        came = arrived(outcomes)
        for place in range(self._count, len(came)):
            self._seconds |= _built(came[place])
        self._count = len(came)
        if trials is not self._open:
            self._open, self._built_by_open = trials, {}
            for trial in trials.values():
                self._built_by_open |= _built(trial)
        provider = candidate.runtime.provider
        keys = [(provider, candidate.recipe[: place + 1]) for place in range(len(candidate.recipe))]
        return [self._built_by_open.get(key, self._seconds.get(key)) for key in keys]


def _built(trial: TrialResult | Trial) -> dict[_Key, float]:
    recipe, provider = trial.candidate.recipe, trial.candidate.runtime.provider
    return {
        (provider, recipe[: place + 1]): step.s / (1 - step.resumed)
        for place, step in enumerate(built_seconds(trial))
        if step.resumed < 1
    }
