"""The contract of a strategy: ask for the next candidate, tell what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from paretune.core.candidate import Candidate
from paretune.core.result import TrialResult
from paretune.search.constraints import Objective
from paretune.search.space import Space


@runtime_checkable
class Strategy(Protocol):
    """Decides what to try next; never proposes what was told or proposed before.

    A strategy is rebuilt from outcomes: told the same ones in the same order, it goes on as the
    undisturbed one would.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        first: Sequence[Candidate] = (),
    ) -> None:
        """Make a strategy.

        Args:
            space: What may be proposed.
            objectives: What is better, in order of importance.
            seed: Makes the proposals repeatable.
            first: Candidates to propose before all others, inside the space or not.
        """

    def ask(self) -> Candidate | None:
        """Return the next candidate; None once the space is exhausted."""

    def tell(
        self, candidate: Candidate, outcome: TrialResult, violations: Sequence[float] = ()
    ) -> None:
        """Report what became of a candidate.

        Args:
            candidate: What was tried.
            outcome: How it ended.
            violations: By how much each constraint is broken, relative to it; 0 where it holds,
                infinite where the metric is missing.
        """
