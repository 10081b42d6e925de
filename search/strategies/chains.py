"""Bayesian optimization of chains of passes: expected gain in hypervolume per second still to pay.

Per metric a Gaussian process forecasts what a candidate will yield
(`paretune.search.surrogate.gaussian`). The next candidate is the one whose expected gain in
feasible hypervolume is largest for the time that is still to pay: passes whose output is in the
store cost nothing, so that the cheap suffixes of a trained prefix come before the next training
where both promise about the same. Charging only the cost left after the stored prefix follows EEIPU
("Cost-aware Bayesian optimization of multi-stage pipelines", arXiv 2411.03731); the gain is divided
by a root of the cost, because the cost itself keeps a search at cheap candidates of little gain
(Lee et al., "Cost-aware Bayesian Optimization", arXiv 2003.10870).

Where the last rung of the measurements is a large part of what a trial costs, the trial is paused
before it, and goes on only when nothing else promises more for its time: what the rough rung has
measured is an observation like others, with its own variance.

Limits enter by the share of draws that meet them. Candidates that fail teach how likely success is;
early stops teach by what was measured of them. Before there are four results, and a value of each
objective, the cheapest candidate is taken that is unlike those that were tried. With priors the
models decide from the first candidate on (`paretune.search.surrogate.transfer`).
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from paretune.core.candidate import Candidate
from paretune.core.measurement import Rung
from paretune.core.result import OutcomeKind
from paretune.core.trial_forecast import TrialForecast
from paretune.search.constraints import Objective
from paretune.search.space import Space
from paretune.search.strategies.base import Ended, Event, Promote, Request, Start, View
from paretune.search.strategies.fitting import first_fitting
from paretune.search.strategies.measured import Measured, is_feasible
from paretune.search.surrogate.acquisition import Acquisition, Forecasts
from paretune.search.surrogate.allowance import FEW, MANY, Allowance, Effort
from paretune.search.surrogate.encoding import Encoding
from paretune.search.surrogate.learner import SUCCESS, Learner
from paretune.search.surrogate.pool import Pool

_LEARNED = 4
"""Results before the models decide."""
_ROUNDS, _REFINED = 2, 8
"""How often, and around how many of the best, better candidates are looked for."""
_NEAR_FRONT, _NEAR_LATEST = 16, 4
_COMPARED = 400
"""Of more results only the front, and half as many of the latest, enter the expected front; of
more than `MANY`, half of `FEW`."""
_COST_EXPONENT = 0.3
"""Chosen on the recorded cells (`benchmarks/README.md`)."""
_UNLIKE = 0.3
"""Logarithm of how much more a candidate may cost for each choice that is new."""
_PAUSED_FROM = 0.3
"""Share of a trial's cost that its last rung must be, so that it is paused before it."""
_LEAST_CHANCE, _LEAST_GAIN = 0.002, 1e-12


@dataclass(frozen=True)
class _Choice:
    """A candidate, and what it promises.

    Attributes:
        candidate: The candidate.
        gain: Expected gain in hypervolume; None: nothing is known yet.
        seconds: Still to pay for it.
        volume: Hypervolume of the front, in the unit of the gain.
        forecasts: It was chosen by these; None: by its cost.
        place: Its row in them.
        trial: Number of the paused trial that it is; None: it was not started.
    """

    candidate: Candidate
    gain: float | None = None
    seconds: float = 1.0
    volume: float = 0.0
    forecasts: Forecasts | None = None
    place: int = 0
    trial: int | None = None

    @property
    def score(self) -> float:
        """The gain for a root of the time; of what promises nothing, the cheaper is better."""
        return ((self.gain or 0.0) + _LEAST_GAIN) / math.pow(self.seconds, _COST_EXPONENT)

    @property
    def rate(self) -> float:
        """The gain per minute, as a share of the volume."""
        return 60 * (self.gain or 0.0) / self.seconds / self.volume


class ChainSearch:
    """The strategy ``chains``.

    Attributes:
        takes_priors: It forecasts from earlier studies, too (`paretune.search.surrogate.earlier`).

    Args:
        space: What may be proposed.
        objectives: What is better.
        seed: Makes the proposals repeatable.
        first: Candidates to propose before all others, inside the space or not.
    """

    takes_priors = True

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        first: Sequence[Candidate] = (),
    ) -> None:
        self._objectives = tuple(objectives)
        self._seed = seed
        self._first = list(first)
        self._seen: set[str] = set()
        self._encoding = Encoding(space)
        self._measured = Measured(self._encoding, self._objectives)
        self._pool = Pool(space, self._encoding, seed)
        self._allowance = Allowance()
        self._learner = Learner(self._encoding, self._objectives, self._allowance)
        self._ranked: list[_Choice] = []
        self._ranked_at: object = None

    def tell(self, event: Event) -> None:
        """Take an event into account."""
        if isinstance(event, Ended):
            self._seen.add(event.result.candidate.digest)
            self._measured.add(event.result)
            self._allowance.ended(event.result)
        else:
            self._seen.add(event.trial.candidate.digest)

    def ask(self, view: View) -> Request | None:
        """Return the next trial; None once the space is exhausted."""
        while self._first and view.may_start:
            candidate = self._first.pop(0)
            if candidate.digest not in self._seen:
                return self._start(candidate)
        found = self._choice(view)
        if found is None:
            return None
        if found.trial is not None:
            return Promote(found.trial)
        until = Rung.ROUGH if self._pauses(found) else Rung.FULL
        return self._start(found.candidate, until, self._expected(found, view))

    def _start(
        self, candidate: Candidate, until: Rung = Rung.FULL, forecast: TrialForecast | None = None
    ) -> Start:
        self._seen.add(candidate.digest)
        return Start(candidate, until, forecast)

    def _pauses(self, chosen: _Choice) -> bool:
        """Return whether it is decided again after the rough rung if a trial goes on."""
        last_s = self._learner.costs.last_rung_s
        if chosen.gain is None or last_s is None:
            return False
        return last_s > _PAUSED_FROM * chosen.seconds

    def _expected(self, chosen: _Choice, view: View) -> TrialForecast | None:
        if chosen.forecasts is None:
            return None
        gain = (chosen.gain or 0.0) / chosen.volume if chosen.volume else None
        return self._learner.told.forecast(
            chosen.forecasts, chosen.place, self._learner.scales, view.limits, chosen.seconds, gain
        )

    def expected_gain(self, view: View) -> float | None:
        """Return the largest expected gain per minute of a candidate.

        Args:
            view: What can be read of the search.

        Returns:
            A share of today's feasible hypervolume, as `Acquisition` scales it; None: nothing can
            be expected yet, or nothing is left.
        """
        if self._first or self._choice(view) is None:
            return None
        told = [one for one in self._ranked if one.gain is not None and one.volume]
        told.sort(key=lambda one: one.rate, reverse=True)
        return first_fitting(told, view, lambda one: one.candidate).rate if told else None

    def _choice(self, view: View) -> _Choice | None:
        """Return what is worth its time most; None: there is nothing.

        What was ruled out before any job teaches too little for all to be compared again: then it
        is the next one of the same ranking. So it is while another comparison cannot be paid.
        """
        state = (self._measured.ran, tuple(view.limits), tuple(view.paused), view.may_start)
        for _ in range(2):
            with self._allowance.choosing(Effort.NONE, view.clock):
                self._ranked = [one for one in self._ranked if self._is_open(one, view)]
            effort = self._allowance.payable
            if self._ranked and (self._ranked_at == state or effort is Effort.NONE):
                break
            self._ranked_at = state
            with self._allowance.choosing(max(effort, Effort.FEW), view.clock):
                found = self._ranking(view)
            self._ranked = sorted(found, key=lambda one: one.score, reverse=True)
        if not self._ranked:
            return None
        return first_fitting(self._ranked, view, lambda one: one.candidate)

    def _is_open(self, choice: _Choice, view: View) -> bool:
        """Return whether it can be chosen still."""
        if choice.trial is not None:
            return choice.trial in view.paused
        return view.may_start and choice.candidate.digest not in self._seen

    def _ranking(self, view: View) -> list[_Choice]:
        """Return what can be chosen, in any order."""
        outside, paused = self._paused(view)
        if outside:  # what lies outside the space has no forecast
            return [_Choice(view.trials[id].candidate, trial=id) for id in outside[:1]]
        ask = len(self._measured.all)
        pool = self._pool.candidates(ask, self._good(view), self._seen) if view.may_start else []
        self._learner.learn(self._measured.all, view)
        if self._learner.earlier is not None and view.may_start and not self._pool.whole:
            pool += self._learner.earlier.promising(view.limits, self._seen)
        if not pool and not paused:
            return []
        for id in paused:
            self._learner.learn_rung(view.trials[id])
        pool = self._allowance.thinned(pool, random.Random(f"{self._seed}/fewer/{ask}"))
        acquisition = self._acquisition(view)
        if acquisition is None:
            if paused:
                return [_Choice(view.trials[paused[0]].candidate, trial=paused[0])]
            return [_Choice(self._cheapest(pool, view))]
        found = self._scored(pool, acquisition, view) if pool else []
        draw = random.Random(f"{self._seed}/refine/{ask}/{len(self._seen)}")
        compares_all = not self._allowance.compares_few and not self._pool.whole
        for _ in range(_ROUNDS if compares_all else 0):
            best = heapq.nlargest(_REFINED, found, key=lambda one: one.score)
            seen = self._seen.union(one.candidate.digest for one in found)
            around = [one.candidate for one in best]
            more = self._pool.unseen_around(around, draw, seen)
            if more:
                found += self._scored(more, acquisition, view)
        return [*found, *self._continued(paused, acquisition, view)]

    def _paused(self, view: View) -> tuple[list[int], list[int]]:
        """Return the paused trials outside of the space and in it."""
        outside, inside = list[int](), list[int]()
        for id in view.paused:
            row = self._encoding.row(view.trials[id].candidate)
            (outside if row is None else inside).append(id)
        return outside, inside

    def _continued(
        self, paused: Sequence[int], acquisition: Acquisition, view: View
    ) -> list[_Choice]:
        """Return what paused trials promise, and what their last rung costs."""
        if not paused:
            return []
        candidates = [view.trials[id].candidate for id in paused]
        seconds = max(1.0, self._learner.costs.last_rung_s or 0.0)
        return [
            replace(one, seconds=seconds, trial=id)
            for id, one in zip(paused, self._scored(candidates, acquisition, view), strict=True)
        ]

    def _scored(
        self, pool: Sequence[Candidate], acquisition: Acquisition, view: View
    ) -> list[_Choice]:
        """Return what candidates promise and cost."""
        found = self._learner.forecast(pool)
        gains = acquisition.gains(found) * found[SUCCESS][0].clip(_LEAST_CHANCE, 1.0)
        costs = self._learner.costs.seconds(pool, found, view)
        return [
            _Choice(candidate, float(gain), float(seconds), acquisition.volume, found, place)
            for place, (candidate, gain, seconds) in enumerate(zip(pool, gains, costs, strict=True))
        ]

    def _cheapest(self, pool: Sequence[Candidate], view: View) -> Candidate:
        """Return the cheapest candidate; one that is unlike what was tried may cost more."""
        rows = self._encoding.rows(pool)
        costs = self._learner.costs.seconds(pool, {}, view)
        known = (self._encoding.row(result.candidate) for result in self._measured.all)
        tried = [row for row in known if row is not None]
        worth = []
        for row, cost in zip(rows, costs, strict=True):
            new = min((int((row != other).sum()) for other in tried), default=0)
            worth.append(math.log(cost) - _UNLIKE * new)
        order = sorted(range(len(pool)), key=worth.__getitem__)
        return first_fitting([pool[place] for place in order], view, lambda one: one)

    def _acquisition(self, view: View) -> Acquisition | None:
        """Return what gains are measured against; None: too little was seen."""
        tried, limits = self._measured.tried, view.limits
        compared = FEW if len(tried) > MANY else _COMPARED
        if len(tried) > compared:
            front = {r.id for r in self._measured.front(limits)}
            latest = len(tried) - compared // 2
            tried = [r for n, r in enumerate(tried) if n >= latest or r.id in front]
        known = [r.candidate for r in tried]
        if len(tried) < _LEARNED:
            if self._learner.earlier is None:
                return None
            known += self._learner.earlier.typical()
        asked = known + self._pool.sample
        found = self._learner.forecast(asked)
        if any(objective.metric not in found for objective in self._objectives):
            return None
        of_tried = {
            name: (mean[: len(known)], sd[: len(known)]) for name, (mean, sd) in found.items()
        }
        of_sample = {
            name: (mean[len(known) :], sd[len(known) :]) for name, (mean, sd) in found.items()
        }
        feasible = [r.kind is OutcomeKind.OK and is_feasible(r, limits) for r in tried]
        feasible += [False] * (len(known) - len(tried))
        return Acquisition(
            self._objectives,
            limits,
            self._learner.scales,
            of_tried,
            feasible,
            of_sample,
        )

    def _good(self, view: View) -> list[Candidate]:
        """Return candidates of the front, and the latest."""
        front, whole = self._measured.front(view.limits), self._measured.whole
        chosen = [*front[:_NEAR_FRONT], *whole[-_NEAR_LATEST:]]
        return list({r.candidate.digest: r.candidate for r in chosen}.values())
