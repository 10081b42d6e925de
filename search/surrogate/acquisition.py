"""What a candidate can be expected to add to the feasible hypervolume.

The expectation is taken over draws from the forecasts, the same random numbers for every candidate
(Daulton, Balandat and Bakshy, 2020). Of each objective they are the quantiles of its distribution,
in random order, so that no candidate gains or loses by how far the farthest draw lies. The front
consists of the forecasts of the candidates that were tried and meet the limits, so that the noise
of one measurement moves nothing.

A volume needs a reference point, the worst values that count. There are two, and a gain is the sum
of the gains by both. By the first, all of the front counts, up to its ends. By the second, only
what is better in every objective than what `_USUAL` of the space is better than: without it, a
search spends most of its time at useless ends of the front, such as a model that is small, fast and
always wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from paretune.search.constraints import Limit, Objective
from paretune.search.surrogate.hypervolume import gains, gaps
from paretune.search.surrogate.layout import Matrix
from paretune.search.surrogate.scale import Scale
from paretune.stats.hypervolume import hypervolume

Forecasts = Mapping[str, tuple[Matrix, Matrix]]
"""Metric to mean and standard deviation, per candidate."""
_DRAWS = 128
_MARGIN = 0.1
_USUAL = 0.8
_LEAST_USUAL = 10
"""So many of a sample must meet the limits to tell what is usual."""
_LEAST = 1e-9
"""What the chance to meet the limits is worth by itself, as long as nothing has met them."""
_HOLDS = {"<=": np.less_equal, "<": np.less, ">=": np.greater_equal, ">": np.greater}


@dataclass(frozen=True)
class _Volume:
    """The volume up to one reference point, in the unit of the box from `low` to it."""

    low: Matrix
    width: Matrix
    boxes: tuple[Matrix, Matrix]
    of_front: float

    @classmethod
    def up_to(cls, reference: Matrix, low: Matrix, front: Matrix) -> _Volume:
        width = reference - low
        scaled = (front - low) / width
        ones = (1.0,) * len(low)
        better = np.clip(1.0 - scaled, 0.0, None)
        return cls(
            low, width, gaps(list(map(tuple, scaled)), ones), hypervolume(map(tuple, better))
        )

    def gains(self, points: Matrix) -> Matrix:
        return gains((points - self.low) / self.width, self.boxes)


class Acquisition:
    """Expected gains against what was tried so far.

    Attributes:
        volume: Hypervolume of the feasible front, in the unit of the gains.

    Args:
        objectives: What is better.
        limits: In force.
        scales: In which each metric is forecast.
        tried: Forecasts of candidates that were tried.
        feasible: Of each of them, whether it meets the limits.
        sample: Forecasts of candidates drawn from the whole space.
        seed: Of the draws.
    """

    def __init__(
        self,
        objectives: Sequence[Objective],
        limits: Sequence[Limit],
        scales: Mapping[str, Scale],
        tried: Forecasts,
        feasible: Sequence[bool],
        sample: Forecasts,
        seed: Sequence[int],
    ) -> None:
        self._objectives = objectives
        self._limits = limits
        self._scales = scales
        self._signs = np.array([1.0 if o.direction == "minimize" else -1.0 for o in objectives])
        generator = np.random.default_rng(seed)
        quantiles = ndtri((np.arange(_DRAWS) + 0.5) / _DRAWS)
        self._normal = {o.metric: generator.permutation(quantiles) for o in objectives}
        every = self._means(tried)
        front = every[np.asarray(feasible, dtype=bool)]
        self._met = len(front) > 0
        meets = np.all([self._chance(x, sample) >= 0.5 for x in limits], axis=0)
        usual = self._means(sample)[np.broadcast_to(meets, len(next(iter(sample.values()))[0]))]
        self._volumes = _volumes(front, every, usual)
        self.volume = sum(each.of_front for each in self._volumes)

    def _means(self, forecasts: Forecasts) -> Matrix:
        """Return the forecasts of the objectives, all to be minimized."""
        values = [self._scales[o.metric].values(forecasts[o.metric][0]) for o in self._objectives]
        means: Matrix = np.column_stack(values) * self._signs
        return means

    def _chance(self, limit: Limit, found: Forecasts) -> Matrix:
        """Return the probability of each candidate to meet a limit; unknown metrics meet it."""
        if limit.metric not in found:
            return np.ones(len(next(iter(found.values()))[0]))
        mean, deviation = found[limit.metric]
        at = self._scales[limit.metric].of_value(limit.value)
        unsure = deviation > 0
        below = ndtr((at - mean) / np.where(unsure, deviation, 1.0))
        chance: Matrix = below if limit.op.startswith("<") else 1.0 - below
        return np.where(unsure, chance, _HOLDS[limit.op](mean, at))

    def gains(self, found: Forecasts) -> Matrix:
        """Return the expected gain per candidate; 1 is the volume of a box of the front's own."""
        values = {
            name: self._scales[name].values(
                found[name][0][:, None] + found[name][1][:, None] * z[None, :]
            )
            for name, z in self._normal.items()
        }
        points = np.stack([values[o.metric] for o in self._objectives], axis=-1) * self._signs
        gain = self._gains(points)
        chance = np.ones(len(points))
        others = np.ones(len(points))
        for limit in self._limits:
            met = self._chance(limit, found)
            chance = chance * met
            if limit.metric in values:
                gain = gain * _HOLDS[limit.op](values[limit.metric], limit.value)
            else:  # independent of the objectives, so that its chance is a factor
                others = others * met
        expected: Matrix = np.mean(gain, axis=1) * others
        return expected if self._met else expected + _LEAST * chance

    def _gains(self, points: Matrix) -> Matrix:
        """Return the gain of each draw of each candidate.

        A candidate that gains nothing at the best of its draws in every objective, gains nothing.
        """
        best = np.min(points, axis=1)
        may = np.any([each.gains(best) > 0 for each in self._volumes], axis=0)
        gain = np.zeros(points.shape[:-1])
        gain[may] = sum(each.gains(points[may]) for each in self._volumes)
        return gain


def _volumes(front: Matrix, every: Matrix, usual: Matrix) -> list[_Volume]:
    """Return the volumes up to the reference points of this module.

    The first one lies a tenth beyond the worst values of the front (Ishibuchi et al., 2018); of
    fewer than three points beyond the worst values of all that was tried.
    """
    from_ = front if len(front) >= 3 else every
    low, high = np.min(from_, axis=0), np.max(from_, axis=0)
    width = np.where(high > low, high - low, np.maximum(np.abs(high), 1e-9))
    reference = low + (1.0 + _MARGIN) * width
    found = [_Volume.up_to(reference, low, front)]
    if len(usual) >= _LEAST_USUAL:
        worst = np.quantile(usual, _USUAL, axis=0)
        nearer = np.where(worst > low, np.minimum(worst, reference), reference)
        if np.any(nearer < reference):
            found.append(_Volume.up_to(nearer, low, front))
    return found
