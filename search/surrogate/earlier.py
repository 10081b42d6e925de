"""What `chains` takes from earlier studies: observations of other tasks, and candidates to compare.

Their measurements, their success and their seconds are observations under the study's name, from
which `paretune.search.surrogate.transfer` forecasts what is not known here yet.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from paretune.core.candidate import Candidate
from paretune.core.measurement import Measurement
from paretune.core.result import TrialResult
from paretune.search.constraints import Limit, Objective
from paretune.search.priors import Prior
from paretune.search.summary import values
from paretune.search.surrogate.costs import Costs
from paretune.search.surrogate.observed import Observed

if TYPE_CHECKING:
    from paretune.search.strategies.base import View
    from paretune.search.surrogate.encoding import Encoding

Converted = tuple[float, float]
"""A value in the unit in which it is forecast, and its variance."""
_TIMED = 200
"""Most results of a study whose seconds are learned from."""
_PROMISING, _TYPICAL = 200, 64
_OTHERS = 200
_DIRECTIONS = 8
"""Weightings of the objectives by which good candidates are looked for."""


class EarlierStudies:
    """The priors of a search, in the terms of its models.

    Args:
        priors: Earlier studies.
        objectives: What is better.
    """

    def __init__(self, priors: Sequence[Prior], objectives: Sequence[Objective]) -> None:
        self._priors = priors
        self._objectives = objectives
        self._promising: dict[object, list[Candidate]] = {}

    def observations(
        self,
        view: View,
        encoding: Encoding,
        metrics: Mapping[str, bool],
        success: tuple[str, Callable[[TrialResult], bool]],
        convert: Callable[[Measurement], Converted | None],
        costs: Costs,
    ) -> Iterator[tuple[str, str, Observed]]:
        """Yield what each study observed of each quantity: quantity, study, observations.

        Args:
            view: Gives the estimates that seconds are compared with.
            encoding: Of the space.
            metrics: What is forecast, and whether it depends on the device.
            success: Name under which success is forecast, and whether a result is one.
            convert: Returns what is forecast of a measurement.
            costs: Of this search; it gets to know what was timed.
        """
        for prior in self._priors:
            found: dict[str, Observed] = {}
            seen: set[object] = set()
            elsewhere = Costs()
            timed = {result.id for result in _evenly(prior.results, _TIMED)}
            here = prior.alike(device=True)
            for result in prior.results:
                codes = encoding.row(result.candidate)
                if codes is None:
                    continue
                row = codes.tolist()
                worked = float(success[1](result))
                found.setdefault(success[0], Observed(here)).add(row, worked, 0.0)
                for name, device in metrics.items():
                    measured = (result.measurements or {}).get(name)
                    key = (name, *result.candidate.recipe)
                    value = None if measured is None else convert(measured)
                    if value is None or (not device and key in seen):
                        continue
                    if not device:
                        seen.add(key)
                    alike = prior.alike(device=device)
                    found.setdefault(name, Observed(alike)).add(row, *value)
                if result.id in timed:
                    taken = elsewhere.learn(result, view)
                    costs.expect(taken)
                    for name, seconds, variance in taken:
                        found.setdefault(name, Observed(here)).add(row, seconds, variance)
            for name, observed in found.items():
                yield name, prior.study, observed

    def units(self, metric: str) -> set[str]:
        """Return the units in which they measured a metric; none: they did not."""
        found = ((r.measurements or {}).get(metric) for p in self._priors for r in p.results)
        return {measured.unit for measured in found if measured is not None}

    def typical(self) -> list[Candidate]:
        """Return some candidates that they tried, for the scale of what is to be expected."""
        found = [r.candidate for p in self._priors for r in _evenly(p.results, _TYPICAL)]
        return list({candidate.digest: candidate for candidate in found}.values())

    def promising(self, limits: Sequence[Limit], seen: Collection[str]) -> list[Candidate]:
        """Return the candidates that were good there, without those that were tried here.

        Args:
            limits: In force; those on metrics whose values may be quite other ones here do not
                count.
            seen: Digests of candidates to leave out.
        """
        key = tuple(limits)
        if key not in self._promising:
            found = [c for prior in self._priors for c in self._best(prior, limits)]
            self._promising[key] = list({c.digest: c for c in found}.values())
        return [c for c in self._promising[key] if c.digest not in seen]

    def _best(self, prior: Prior, limits: Sequence[Limit]) -> list[Candidate]:
        names = [objective.metric for objective in self._objectives]
        whole = [r for r in prior.results if all(n in values(r) for n in names)]
        accuracy = prior.alike(device=False)
        held = [x for x in limits if prior.alike(device=True) or (accuracy and _share(whole, x))]
        good = [r for r in whole if all(x.holds(r.value(x.metric)) for x in held)] or whole
        if not good:
            return []
        signs = np.array([1.0 if o.direction == "minimize" else -1.0 for o in self._objectives])
        table = np.array([[values(r)[n] for n in names] for r in good]) * signs
        ranks = table.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable") / len(good)
        draw = random.Random(len(names))
        weights = [[1.0 / len(names)] * len(names)]
        weights += [[float(n == k) for n in range(len(names))] for k in range(len(names))]
        weights += [[draw.random() for _ in names] for _ in range(_DIRECTIONS)]
        each = _PROMISING // (len(weights) if len(names) > 1 else 1)
        chosen: dict[int, None] = {}
        for weight in weights:
            order = np.argsort(ranks @ np.array(weight), kind="stable")[:each]
            chosen.update(dict.fromkeys(order.tolist()))
        # Some that were not good there: another device may see them otherwise.
        chosen.update(dict.fromkeys(draw.sample(range(len(good)), min(_OTHERS, len(good)))))
        return [good[n].candidate for n in chosen]


def _share(results: Sequence[TrialResult], limit: Limit) -> bool:
    """Return whether a limit is on a share, which has the same meaning on every device."""
    measured = ((r.measurements or {}).get(limit.metric) for r in results)
    first = next(filter(None, measured), None)
    return first is not None and first.unit == "fraction"


def _evenly(results: Sequence[TrialResult], most: int) -> list[TrialResult]:
    """Return all results, or so many of them, evenly over time."""
    if len(results) <= most:
        return list(results)
    return [results[n * len(results) // most] for n in range(most)]
