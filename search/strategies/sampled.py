"""Samplers as strategies: they propose; what was seen is decided by our own numbering.

A proposal depends on the seed, on the results in the order in which they were reported and on which
candidates were seen, and on nothing else: a sampled search goes on after an interruption exactly as
it would have without one. (Optuna 5.0: a resumed sampler does not repeat the undisturbed run; so
each ask gets a fresh sampler, seeded from the seed and the number of results.)

A sampler learns from a bounded number of results, so that an ask costs no more after ten thousand
than after three hundred. A proposal that was seen before is drawn again; then the unseen candidate
that is nearest to the first one takes its place.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from paretune.core.candidate import Candidate
from paretune.core.result import TrialResult
from paretune.search.constraints import Objective
from paretune.search.space import Space
from paretune.search.strategies.learning import Learner, Told, fittest
from paretune.search.strategies.proposing import Choice, Choose
from paretune.search.strategies.unseen import Unseen

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

_TRIES = 3


class _Sampled:
    """A strategy that draws candidates.

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
        self._space = space
        self._objectives = tuple(objectives)
        self._seed = seed
        self._first = list(first)
        self._unseen = Unseen(space)
        self._told = 0
        self._learner = Learner(space, objectives)

    def _sample(self, draw: random.Random) -> Candidate:
        """Return a proposal, seen or not."""
        raise NotImplementedError

    def _learn(self, told: Told) -> None:
        """Learn from a result."""

    def ask(self) -> Candidate | None:
        """Return the next candidate; None once there is none that was not seen."""
        while self._first:
            candidate = self._first.pop(0)
            if candidate in self._unseen:
                return self._proposed(candidate)
        draw = random.Random(f"{self._seed}/{self._told}/{len(self._unseen)}")
        found: Candidate | None = self._sample(draw)
        assert found is not None
        drawn = [found]
        while drawn[-1] not in self._unseen and len(drawn) < _TRIES:
            drawn.append(self._sample(draw))
        found = drawn[-1]
        if found not in self._unseen:
            found = self._unseen.nearest(drawn[0], draw)
        return None if found is None else self._proposed(found)

    def _proposed(self, candidate: Candidate) -> Candidate:
        self._unseen.see(candidate)
        return candidate

    def tell(
        self, candidate: Candidate, outcome: TrialResult, violations: Sequence[float] = ()
    ) -> None:
        """Report what became of a candidate; one outside of the space teaches nothing."""
        self._unseen.see(candidate)
        self._told += 1
        told = self._learner.told(candidate, outcome, violations)
        if told is not None:
            self._learn(told)


def _uniform(draw: random.Random) -> Choose:
    return lambda choice: draw.randrange(len(choice.values))


class RandomSearch(_Sampled):
    """Uniform over every choice, independently."""

    def _sample(self, draw: random.Random) -> Candidate:
        return self._unseen.propose(_uniform(draw), draw)


class Nsga2Search(_Sampled):
    """NSGA-II (Deb et al., 2002): generations of twelve, selected by constrained domination.

    A child walks through the space as its parents did: at each choice it takes what one of them
    took, or the other one where only that one has this choice. A mutation moves an ordered choice
    by a step that is small more often than large, and takes another category elsewhere.
    """

    # A generation. The usual 50 would be most of a search that trains.
    population: ClassVar[int] = 12

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        first: Sequence[Candidate] = (),
    ) -> None:
        super().__init__(space, objectives, seed, first)
        self._parents: list[Told] = []
        self._trials: list[Told] = []

    def _learn(self, told: Told) -> None:
        """Take a result into the generation; a full one selects the parents of the next."""
        self._trials.append(told)
        if len(self._trials) == self.population:
            self._parents = fittest([*self._parents, *self._trials], self.population)
            self._trials = []

    def _sample(self, draw: random.Random) -> Candidate:
        if not self._parents:
            return self._unseen.propose(_uniform(draw), draw)
        parents = (self._parent(draw), self._parent(draw))
        mutation = 1 / max(1, len(parents[0].positions))

        def choose(choice: Choice) -> int:
            count = len(choice.values)
            taken = [p.positions[choice.name] for p in parents if choice.name in p.positions]
            if count == 1 or not taken:
                return draw.randrange(count)
            position = draw.choice(taken)
            return _mutated(choice, position, draw) if draw.random() < mutation else position

        return self._unseen.propose(choose, draw)

    def _parent(self, draw: random.Random) -> Told:
        """Return the better one of two."""
        a, b = draw.choice(self._parents), draw.choice(self._parents)
        return b if b.beats(a) else a


def _mutated(choice: Choice, position: int, draw: random.Random) -> int:
    count = len(choice.values)
    if not choice.ordered:
        return (position + draw.randrange(1, count)) % count
    # Half of the steps are below the square root of the longest one.
    step = max(1, round(math.pow(count - 1, draw.random())))
    rank = choice.ranks[position] + draw.choice((-step, step))
    return choice.by_rank[min(max(rank, 0), count - 1)]


class TpeSearch(_Sampled):
    """Multi-objective tree-structured Parzen estimator (Ozaki et al., 2022), of Optuna.

    An ordered choice is a whole number for it, the rank of the value: on a logarithmic grid that
    is the logarithm. Choices off a candidate's way are absent there, so that it learns inside of
    alternatives and optional stages from those that went there.

    Above `most` results it learns from the fittest and the latest: it gives full weight to the
    latest and less to older ones anyway, and calls at most 25 of all of them good.
    """

    most: ClassVar[int] = 300

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        first: Sequence[Candidate] = (),
    ) -> None:
        super().__init__(space, objectives, seed, first)
        self._results: list[Told] = []
        self._history: Study | None = None
        self._distributions: dict[str, BaseDistribution] = {}

    def _learn(self, told: Told) -> None:
        self._results.append(told)
        self._history = None
        if len(self._results) > self.most:
            third = self.most // 3
            self._results = fittest(self._results[:-third], third) + self._results[-third:]

    def _sample(self, draw: random.Random) -> Candidate:
        import optuna
        from optuna.trial import TrialState, create_trial

        if self._history is None:
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            minimize = optuna.study.StudyDirection.MINIMIZE
            self._history = optuna.create_study(directions=[minimize] * len(self._objectives))
            self._history.add_trials([self._trial(told) for told in self._results])
        study, running = self._history, create_trial(state=TrialState.RUNNING)
        sampler = optuna.samplers.TPESampler(seed=draw.getrandbits(31), n_startup_trials=10)

        def choose(choice: Choice) -> int:
            if len(choice.values) == 1:
                return 0
            # Not by a trial of the study: a resumed search does not have those that were asked for.
            given = sampler.sample_independent(
                study, running, choice.name, self._distribution(choice)
            )
            if choice.ordered:
                return choice.by_rank[int(given)]
            return choice.labels.index(given)

        return self._unseen.propose(choose, draw)

    def _trial(self, told: Told) -> FrozenTrial:
        from optuna.trial import TrialState, create_trial

        known = self._space.tree.choices
        taken = {n: p for n, p in told.positions.items() if len(known[n].values) > 1}
        return create_trial(
            state=TrialState.COMPLETE,
            values=list(told.losses),
            params={
                name: known[name].ranks[p] if known[name].ordered else known[name].labels[p]
                for name, p in taken.items()
            },
            distributions={name: self._distribution(known[name]) for name in taken},
            constraints={str(i): broken for i, broken in enumerate(told.broken)},
        )

    def _distribution(self, choice: Choice) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution, IntDistribution

        if choice.name not in self._distributions:
            self._distributions[choice.name] = (
                IntDistribution(0, len(choice.values) - 1)
                if choice.ordered
                else CategoricalDistribution(choice.labels)
            )
        return self._distributions[choice.name]
