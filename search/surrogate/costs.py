"""What a candidate still costs: the passes' estimates, corrected by a model of what was observed.

What a pass took, divided by its own estimate, is a metric like any other, and so are the seconds of
measuring: each is forecast from a candidate's choices. Charging only what is left to pay follows
EEIPU (arXiv 2411.03731).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np

from paretune.core.candidate import Candidate, Step
from paretune.core.measurement import Rung
from paretune.core.parent import STEP as PARENT
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.search.trial_state import Trial

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paretune.search.strategies.base import PrefixCost, View

MEASURING = "seconds of measuring"
"""Name under which the seconds of measuring are forecast, as a logarithm."""
_OVERHEAD_S = 0.5
_MAX_LOOKED = 5000
_MIN_ESTIMATE_S = 1.0
_MOST_RESUMED = 0.9
"""The seconds of the rest of a run tell of the whole, unless less than a tenth was left."""
_FURTHEST = 2.0
"""How far a forecast may be from what was seen of its kind, as a logarithm."""
_VARIANCE = 0.01
"""Of the logarithm of a time: the same work takes a tenth more or less from one run to another."""

Observation = tuple[str, float, float]
"""Name, value and variance."""


class Costs:
    """Turns what trials took into observations, and forecasts into seconds still to pay."""

    def __init__(self) -> None:
        self._built: set[tuple[Step, ...]] = set()
        self._looked: dict[str, tuple[Candidate, tuple[PrefixCost, ...]]] = {}
        self._seen: dict[str, list[float]] = {}
        self._last_rungs: list[float] = []

    @property
    def last_rung_s(self) -> float | None:
        """Median of the seconds of the last rung; None: no trial had a rough one before it."""
        return float(np.median(self._last_rungs)) if self._last_rungs else None

    def learn(self, result: TrialResult, view: View) -> list[Observation]:
        """Return what a trial tells of the seconds of its passes and of measuring."""
        costs = self._cost(result.candidate, view)
        found = []
        prefixes = _built(result.candidate, result.seconds)
        built = len(prefixes)
        self._built.update(prefixes)
        for place, step in enumerate(result.seconds[:built]):
            if not step.cached and step.s > 0 and step.resumed < _MOST_RESUMED:
                estimate = costs[place].estimated_s if place < len(costs) else None
                whole = step.s / (1.0 - step.resumed)
                found.append((_name(step.step, estimate), whole / _unit(estimate)))
        rest = sum(s.s for s in result.seconds[built:] if not s.cached and s.step != PARENT)
        if result.kind is OutcomeKind.OK and rest > 0:
            found.append((MEASURING, rest))
            by_rung = {rung: _seconds_of(rung, result) for rung in (Rung.ROUGH, Rung.FULL)}
            if min(by_rung.values()) > 0:
                self._last_rungs.append(by_rung[Rung.FULL])
        self._forget_like(result.candidate)
        for name, ratio in found:
            self._seen.setdefault(name, []).append(math.log(ratio))
        return [(name, math.log(ratio), _VARIANCE) for name, ratio in found]

    def note_built(self, trial: Trial) -> None:
        """Note what a trial that is paused has built: it is paid."""
        self._built.update(_built(trial.candidate, trial.seconds))
        self._forget_like(trial.candidate)

    def expect(self, observations: Sequence[Observation]) -> None:
        """Note what an earlier study took: it is forecast here, too."""
        for name, value, _ in observations:
            self._seen.setdefault(name, []).append(value)

    def seconds(
        self,
        pool: Sequence[Candidate],
        forecasts: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
        view: View,
    ) -> NDArray[np.float64]:
        """Return the seconds that are still to pay for each candidate.

        Args:
            pool: The candidates.
            forecasts: Of what `learn` returned, by name, for each of them; without that of a name,
                the median of what was seen counts.
            view: Tells what is built, and the passes' estimates.
        """
        ratios = {name: self._ratios(name, forecasts, len(pool)) for name in self._seen}
        passes = [value for name, seen in self._seen.items() if name != MEASURING for value in seen]
        usual = math.exp(float(np.median(passes))) if passes else 1.0
        total = np.full(len(pool), _OVERHEAD_S) + ratios.get(MEASURING, 0.0)
        for n, candidate in enumerate(pool):
            for place, cost in enumerate(self._cost(candidate, view)):
                if cost.built or candidate.recipe[: place + 1] in self._built:
                    continue
                ratio = ratios.get(_name(cost.step, cost.estimated_s))
                if cost.observed_s is not None:
                    whole = cost.observed_s
                elif ratio is not None:
                    whole = ratio[n] * _unit(cost.estimated_s)
                else:
                    whole = usual * (cost.estimated_s or 0.0)
                total[n] += whole * (1.0 - (cost.resumes or 0.0))
        return total

    def _ratios(
        self,
        name: str,
        forecasts: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
        count: int,
    ) -> NDArray[np.float64]:
        seen = self._seen[name]
        if name not in forecasts:
            return np.full(count, math.exp(float(np.median(seen))))
        ends = (min(seen) - _FURTHEST, max(seen) + _FURTHEST)
        found: NDArray[np.float64] = np.exp(np.clip(forecasts[name][0], *ends))
        return found

    def _cost(self, candidate: Candidate, view: View) -> tuple[PrefixCost, ...]:
        found = self._looked.get(candidate.digest)
        if found is None:
            found = self._looked[candidate.digest] = (candidate, view.cost(candidate))
        return found[1]

    def _forget_like(self, candidate: Candidate) -> None:
        """Forget the costs of candidates that a training may have made cheaper.

        A training that goes on from where another one stopped differs from it in one parameter.
        """
        if not candidate.recipe:
            return
        first = candidate.recipe[0]
        if len(self._looked) > _MAX_LOOKED:
            self._looked.clear()
        for digest, (other, _) in list(self._looked.items()):
            if other.recipe and _differ_in_one(first, other.recipe[0]):
                del self._looked[digest]


def _built(candidate: Candidate, seconds: Sequence[StepTime]) -> list[tuple[Step, ...]]:
    """Return the prefixes of a recipe that a trial has built, shortest first."""
    recipe = candidate.recipe
    steps = takewhile(lambda pair: pair[0].name == pair[1].step, zip(recipe, seconds, strict=False))
    return [recipe[: place + 1] for place, _ in enumerate(steps)]


def _seconds_of(rung: Rung, result: TrialResult) -> float:
    """Return what the evaluators took for a rung, as far as they ran."""
    end = f":{rung.value}"
    return sum(s.s for s in result.seconds if s.step.endswith(end) and not s.cached)


def _differ_in_one(a: Step, b: Step) -> bool:
    if a.name != b.name:
        return False
    names = a.params.keys() | b.params.keys()
    return len([name for name in names if a.params.get(name) != b.params.get(name)]) <= 1


def _unit(estimate: float | None) -> float:
    """Return what a pass's seconds are divided by: its estimate, if that is long enough to tell."""
    return estimate if estimate is not None and estimate >= _MIN_ESTIMATE_S else 1.0


def _name(step: str, estimate: float | None) -> str:
    of = " by its estimate" if _unit(estimate) != 1.0 else ""
    return f"seconds of {step}{of}"
