"""Optuna's samplers as strategies: they propose; what was seen is decided by our own numbering.

Optuna 5.0: a resumed sampler does not repeat the undisturbed run. Each ask therefore gets a fresh
sampler, seeded from the seed and the number of results, on an in-memory study rebuilt from these
results; a sampled search goes on after an interruption exactly as it would have without one.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from paretune.core.candidate import Candidate
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.constraints import Objective
from paretune.search.space import Space
from paretune.search.strategies.proposing import Choice, choices, choices_of, propose

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

_TRIES = 8
MAX_VIOLATION = 1e9
"""Value of an infinite violation for Optuna, which adds violations up."""


class _Sampled:
    """A strategy around one of Optuna's samplers.

    Args:
        space: What may be proposed.
        objectives: What is better.
        seed: Makes the proposals repeatable.
        first: Candidates to propose before all others, inside the space or not.
    """

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
        self._worst: dict[str, float] = {}
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
        # A new study for each proposal: an asked trial and a sampler's notes would stay in it, and
        # a resumed search does not have them.
        trial = self._history(self._sampler(seed)).ask()

        def choose(choice: Choice) -> int:
            return choice.labels.index(trial.suggest_categorical(choice.name, choice.labels))

        return propose(self._space, choose)

    def _history(self, sampler: BaseSampler) -> Study:
        """Return a study of the results so far."""
        import optuna

        study = optuna.create_study(
            directions=[o.direction for o in self._objectives], sampler=sampler
        )
        study.add_trials(self._trials)
        return study

    def _learn(self, trial: FrozenTrial) -> None:
        """Add a result to those that the sampler receives."""
        self._trials.append(trial)

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
        self, candidate: Candidate, outcome: TrialResult, violations: Sequence[float] = ()
    ) -> None:
        """Report what became of a candidate; one outside of the space teaches nothing."""
        from optuna.distributions import CategoricalDistribution
        from optuna.trial import TrialState, create_trial

        self._seen.add(candidate.digest)
        self._told += 1
        found = choices_of(self._space, candidate)
        if found is None:
            return
        values = [outcome.value(o.metric) for o in self._objectives]
        stopped = outcome.kind in (OutcomeKind.INFEASIBLE, OutcomeKind.PRUNED)
        if stopped:  # what was not looked at is not known to be broken
            violations = [0.0 if math.isinf(v) else v for v in violations]
        if outcome.kind is OutcomeKind.INFEASIBLE and any(violations):
            values = self._filled(values)
        known = [v for v in values if v is not None and math.isfinite(v)]
        complete = len(known) == len(values)
        if complete:
            self._remember(known)
        broken = {str(i): min(v, MAX_VIOLATION) for i, v in enumerate(violations)}
        self._learn(
            create_trial(
                state=TrialState.COMPLETE if complete else TrialState.FAIL,
                values=known if complete else None,
                params=found.labels,
                distributions={
                    name: CategoricalDistribution(choices(self._space)[name].labels)
                    for name in found.labels
                },
                constraints=broken if complete else None,
            )
        )

    def _filled(self, values: Sequence[float | None]) -> list[float | None]:
        """Return what a broken limit cut short, as bad as the worst: only the limit is learnt from.

        Samplers order those that break limits by how much they do, and not by their values.
        """
        return [
            self._worst.get(objective.metric, 0.0) if value is None else value
            for value, objective in zip(values, self._objectives, strict=True)
        ]

    def _remember(self, values: Sequence[float]) -> None:
        for value, objective in zip(values, self._objectives, strict=True):
            worse = max if objective.direction == "minimize" else min
            self._worst[objective.metric] = worse(value, self._worst.get(objective.metric, value))


class RandomSearch(_Sampled):
    """Uniform over every choice, independently."""

    def _learn(self, trial: FrozenTrial) -> None:
        """It does not learn."""

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import RandomSampler

        return RandomSampler(seed=seed)


class Nsga2Search(_Sampled):
    """NSGA-II (Deb et al., 2002): generations of twelve, the constrained domination of Optuna.

    Optuna derives each generation's parents from the one before, back to the first. Here they are
    selected once, when a generation is full: the sampler is given the parents as a generation 0,
    and the results since then as its children, so that a proposal costs as much as at first.
    """

    # A generation. Optuna's default of 50 would be most of a search that trains.
    population: ClassVar[int] = 12

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        first: Sequence[Candidate] = (),
    ) -> None:
        super().__init__(space, objectives, seed, first)
        self._parents: list[FrozenTrial] = []

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import NSGAIISampler

        return NSGAIISampler(population_size=self.population, seed=seed)

    def _learn(self, trial: FrozenTrial) -> None:
        """Take a finished trial into the generation; a full one selects the parents of the next."""
        if not trial.state.is_finished() or trial.values is None:
            return
        self._trials.append(trial)
        if len(self._trials) < self.population:
            return
        sampler = self._sampler(0)
        study = self._history(sampler)
        told = [*self._parents, *self._trials]
        selected = cast(Any, sampler).get_parent_population(study, 2 if self._parents else 1)
        self._parents, self._trials = [told[one.number] for one in selected], []

    def _history(self, sampler: BaseSampler) -> Study:
        import optuna

        study = optuna.create_study(
            directions=[o.direction for o in self._objectives], sampler=sampler
        )
        study.add_trials(
            [_in_generation(trial, 0) for trial in self._parents]
            + [_in_generation(trial, 1 if self._parents else 0) for trial in self._trials]
        )
        return study


def _in_generation(trial: FrozenTrial, number: int) -> FrozenTrial:
    """Return a trial with what Optuna itself would note of its generation at an ask."""
    noted = copy.copy(trial)
    noted.system_attrs = {**trial.system_attrs, "NSGAIISampler:generation": number}
    return noted


class TpeSearch(_Sampled):
    """Multi-objective tree-structured Parzen estimator (Ozaki et al., 2022)."""

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import TPESampler

        return TPESampler(seed=seed, n_startup_trials=10)
