"""What a strategy can read of a search under way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from paretune.core.candidate import Candidate
from paretune.core.measurement import MetricSpec
from paretune.search.constraints import Limit
from paretune.search.jobs import resumed_share
from paretune.search.prefix_seconds import PrefixSeconds
from paretune.search.priors import Prior
from paretune.search.run import SearchRun
from paretune.search.space import Space
from paretune.search.strategies.base import PrefixCost
from paretune.search.time_budget import TimeBudget
from paretune.search.trial_state import Trial


@dataclass(frozen=True)
class SearchView:
    """What a strategy can read (`paretune.search.strategies.base.View`)."""

    search: SearchRun
    space: Space
    budget: TimeBudget
    free_slots: int
    trials: Mapping[int, Trial]
    paused: Sequence[int]
    may_start: bool
    prefixes: PrefixSeconds

    @property
    def limits(self) -> Sequence[Limit]:
        """The constraints in force, as far as their numbers are known."""
        return self.search.summary().limits

    @property
    def metrics(self) -> Sequence[MetricSpec]:
        """What the evaluators measure."""
        return [spec for slot in self.search.evaluators for spec in slot.metrics]

    @property
    def left_s(self) -> float | None:
        """Seconds that are left to search in; None: no limit."""
        return self.search.left()

    @property
    def clock(self) -> Callable[[], float]:
        """Gives the search's seconds."""
        return self.search.clock

    @property
    def priors(self) -> Sequence[Prior]:
        """Earlier studies."""
        return self.search.priors

    def fits(self, candidate: Candidate) -> bool:
        """Return whether a candidate can end in the time that is left, by all estimates."""
        return self.budget.fits(candidate, self)

    def cost(self, candidate: Candidate) -> tuple[PrefixCost, ...]:
        """Return the cost of each prefix of a candidate's recipe, shortest first."""
        recipe = candidate.recipe
        estimates = self.search.look(candidate).estimates
        built = self.search.job_factory.built_steps(candidate)
        share = resumed_share(self.search.job_factory, candidate)
        observed = self.prefixes.of(candidate, self.search.recorder.outcomes, self.trials)
        return tuple(
            PrefixCost(
                step.name,
                place < built,
                estimates[place].seconds if place < len(estimates) else None,
                observed[place],
                (share or None) if place == built else None,
            )
            for place, step in enumerate(recipe)
        )
