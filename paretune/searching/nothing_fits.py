"""The error of a search in which no candidate ran a job."""

from __future__ import annotations

from paretune.core.errors import NothingFitsError
from paretune.core.result import OutcomeKind, TrialResult


def why_nothing(outcomes: list[TrialResult]) -> NothingFitsError | None:
    """Return the error to report if no candidate ran a job."""
    if not outcomes or any(outcome.kind is not OutcomeKind.SKIPPED for outcome in outcomes):
        return None
    reasons: dict[str, int] = {}
    for outcome in outcomes:
        reasons[str(outcome.reason)] = reasons.get(str(outcome.reason), 0) + 1
    common = sorted(reasons.items(), key=lambda item: -item[1])[:3]
    shown = "\n".join(f"  {n} x {reason}" for reason, n in common)
    return NothingFitsError(
        f"nothing in the space fits this machine: {len(outcomes)} candidates were ruled out "
        f"before any job\n{shown}",
        hint="Change the space as the reasons say; `paretune doctor` shows what this machine has.",
    )
