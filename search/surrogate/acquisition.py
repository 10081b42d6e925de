"""What a candidate can be expected to add to the feasible hypervolume.

The expectation is taken over quantiles of each objective's forecast. The front consists of the
forecasts of the candidates that were tried and meet the limits, so that the noise of one
measurement moves nothing.

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
from paretune.search.surrogate.hypervolume import expected_gains, gaps
from paretune.search.surrogate.layout import Matrix
from paretune.search.surrogate.scale import Scale
from paretune.stats.hypervolume import hypervolume

Forecasts = Mapping[str, tuple[Matrix, Matrix]]
"""Metric to mean and standard deviation, per candidate."""
_QUANTILES = 128
_MARGIN = 0.1
_USUAL = 0.8
_LEAST_USUAL = 10
"""So many of a sample must meet the limits to tell what is usual."""
_LEAST = 1e-9
"""What the chance to meet the limits is worth by itself, as long as nothing has met them."""
_NORMAL = ndtri((np.arange(_QUANTILES) + 0.5) / _QUANTILES)
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

    def gains(self, values: Sequence[Matrix], weights: Sequence[Matrix]) -> Matrix:
        scaled = [(v - low) / w for v, low, w in zip(values, self.low, self.width, strict=True)]
        return expected_gains(list(zip(scaled, weights, strict=True)), self.boxes)


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
    """

    def __init__(
        self,
        objectives: Sequence[Objective],
        limits: Sequence[Limit],
        scales: Mapping[str, Scale],
        tried: Forecasts,
        feasible: Sequence[bool],
        sample: Forecasts,
    ) -> None:
        self._objectives = objectives
        self._limits = limits
        self._scales = scales
        self._signs = np.array([1.0 if o.direction == "minimize" else -1.0 for o in objectives])
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
        values = {o.metric: self._quantiles(found, o.metric) for o in self._objectives}
        weights = {name: np.ones_like(each) for name, each in values.items()}
        chance = np.ones(len(found[self._objectives[0].metric][0]))
        others = np.ones_like(chance)
        for limit in self._limits:
            met = self._chance(limit, found)
            chance = chance * met
            if limit.metric in values:
                weights[limit.metric] *= _HOLDS[limit.op](values[limit.metric], limit.value)
            else:  # independent of the objectives, so that its chance is a factor
                others = others * met
        signed = [values[o.metric] * s for o, s in zip(self._objectives, self._signs, strict=True)]
        held = [weights[o.metric] for o in self._objectives]
        gain = sum(each.gains(signed, held) for each in self._volumes)
        expected: Matrix = gain * others
        return expected if self._met else expected + _LEAST * chance

    def _quantiles(self, found: Forecasts, name: str) -> Matrix:
        mean, deviation = found[name]
        return self._scales[name].values(mean[:, None] + deviation[:, None] * _NORMAL[None, :])


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
