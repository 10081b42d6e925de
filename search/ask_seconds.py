"""What choosing candidates cost: the seconds that the search waited for its strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from paretune.core.jsontools import Json
from paretune.core.result import TrialResult


@dataclass(frozen=True)
class AskSeconds:
    """Seconds of the strategy's answers, over a study.

    Attributes:
        trials: Candidates of which it is known how long choosing them took.
        total_s: Seconds of all of them.
        median_s: Seconds per candidate.
        most_s: The longest.
        median_trial_s: Median seconds of a trial that ran a job; None: there is none.
    """

    trials: int
    total_s: float
    median_s: float
    most_s: float
    median_trial_s: float | None

    @property
    def share(self) -> float | None:
        """The median as a share of the median trial's seconds; None: there is no such trial."""
        return self.median_s / self.median_trial_s if self.median_trial_s else None

    def to_json(self) -> dict[str, Json]:
        """Return it as ``results.json`` has it."""
        numbers = {
            name: None if value is None else round(value, 6) for name, value in vars(self).items()
        }
        share = self.share
        return {**numbers, "share": None if share is None else float(f"{share:.4g}")}


def ask_seconds(outcomes: Sequence[TrialResult]) -> AskSeconds | None:
    """Return what choosing a study's candidates cost; None: it is not known of any.

    Args:
        outcomes: All of the study's.
    """
    asked = [outcome.asked_s for outcome in outcomes if outcome.asked_s is not None]
    if not asked:
        return None
    spent = [outcome.spent_s for outcome in outcomes if outcome.ran_job]
    return AskSeconds(
        len(asked), sum(asked), median(asked), max(asked), median(spent) if spent else None
    )
