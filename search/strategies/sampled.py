"""Optuna's samplers as strategies: they propose; what was seen is decided by our own numbering.

Optuna 5.0: a resumed sampler does not repeat the undisturbed run. Each ask therefore gets a fresh
sampler, seeded from the seed and how much was told, on an in-memory study rebuilt from what was
told; a sampled search goes on after an interruption exactly as it would have without one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from paretune.search.candidate import Candidate
from paretune.search.constraints import Objective
from paretune.search.outcome import Outcome
from paretune.search.space import Space
from paretune.search.strategies.proposing import choices_of, propose

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

_TRIES = 8
_BROKEN_MOST = 1e9
"""What an infinite violation is told as: Optuna adds violations up."""


class _Sampled:
    """A strategy around one of Optuna's samplers.

    Args:
        space: What may be proposed.
        objectives: What is better.
        seed: Makes the proposals repeatable.
        first: Candidates to propose before all others, inside the space or not.
    """

    # An NSGA-II generation. Optuna's default of 50 would be most of a search that trains.
    population: ClassVar[int] = 12

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        first: Sequence[Candidate] = (),
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = space
        self._objectives = tuple(objectives)
        self._seed = seed
        self._first = list(first)
        self._seen: set[str] = set()
        self._told = 0
        self._complete = 0
        self._trials: list[FrozenTrial] = []

    def _sampler(self, seed: int) -> BaseSampler:
        raise NotImplementedError

    def ask(self) -> Candidate | None:
        """Return the next candidate; None once there is none that was not seen."""
        while self._first:
            candidate = self._first.pop(0)
            if candidate.digest not in self._seen:
                return self._proposed(candidate)
        draw = random.Random(f"{self._seed}/{self._told}/{len(self._seen)}")
        for _ in range(_TRIES):
            candidate = self._sample(draw.getrandbits(31))
            if candidate.digest not in self._seen:
                return self._proposed(candidate)
        fallback = self._any_unseen(draw)
        return None if fallback is None else self._proposed(fallback)

    def _proposed(self, candidate: Candidate) -> Candidate:
        self._seen.add(candidate.digest)
        return candidate

    def _sample(self, seed: int) -> Candidate:
        import optuna

        # A new study for each proposal: an asked trial and a sampler's notes would stay in it, and
        # a resumed search does not have them.
        study = optuna.create_study(
            directions=[o.direction for o in self._objectives], sampler=self._sampler(seed)
        )
        study.add_trials(self._trials)
        trial = study.ask()

        def choose(name: str, labels: tuple[str, ...]) -> int:
            return labels.index(trial.suggest_categorical(name, labels))

        return propose(self._space, choose)

    def _any_unseen(self, draw: random.Random) -> Candidate | None:
        """Return a candidate that was not seen, at random; None if there is none."""
        for _ in range(_TRIES):
            candidate = self._space.at(draw.randrange(self._space.size))
            if candidate.digest not in self._seen:
                return candidate
        start = draw.randrange(self._space.size)
        for offset in range(self._space.size):
            candidate = self._space.at((start + offset) % self._space.size)
            if candidate.digest not in self._seen:
                return candidate
        return None

    def tell(
        self, candidate: Candidate, outcome: Outcome, violations: Sequence[float] = ()
    ) -> None:
        """Report what became of a candidate; one outside of the space teaches nothing."""
        from optuna.distributions import CategoricalDistribution
        from optuna.trial import TrialState, create_trial

        self._seen.add(candidate.digest)
        self._told += 1
        found = choices_of(self._space, candidate)
        if found is None:
            return
        chosen, labels = found
        values = [outcome.value(o.metric) for o in self._objectives]
        known = [v for v in values if v is not None and math.isfinite(v)]
        complete = len(known) == len(values)
        attributes: dict[str, Any] = {}
        if complete:
            # What Optuna itself would note at an ask: a generation is full of finished trials.
            attributes["NSGAIISampler:generation"] = self._complete // self.population
            self._complete += 1
        broken = {str(i): min(v, _BROKEN_MOST) for i, v in enumerate(violations)}
        self._trials.append(
            create_trial(
                state=TrialState.COMPLETE if complete else TrialState.FAIL,
                values=known if complete else None,
                params=chosen,
                distributions={n: CategoricalDistribution(c) for n, c in labels.items()},
                system_attrs=attributes,
                constraints=broken if complete else None,
            )
        )


class RandomSearch(_Sampled):
    """Uniform over every choice, independently."""

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import RandomSampler

        return RandomSampler(seed=seed)


class Nsga2Search(_Sampled):
    """NSGA-II (Deb et al., 2002): generations of twelve, the constrained domination of Optuna."""

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import NSGAIISampler

        return NSGAIISampler(population_size=self.population, seed=seed)


class TpeSearch(_Sampled):
    """Multi-objective tree-structured Parzen estimator (Ozaki et al., 2022)."""

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import TPESampler

        return TPESampler(seed=seed, n_startup_trials=10)
