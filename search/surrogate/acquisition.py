"""What a candidate can be expected to add to the feasible hypervolume.

The expectation is taken over draws from the forecasts, the same random numbers for every candidate
(Daulton, Balandat and Bakshy, 2020). The front consists of the forecasts of the candidates that
were tried and meet the limits, so that the noise of one measurement moves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from paretune.search.constraints import Limit, Objective
from paretune.search.surrogate.hypervolume import gains, gaps
from paretune.search.surrogate.layout import Matrix
from paretune.stats.hypervolume import hypervolume

Forecasts = Mapping[str, tuple[Matrix, Matrix]]
"""Metric to mean and standard deviation, per candidate."""
_DRAWS = 48
_MARGIN = 0.1
_HOLDS = {"<=": np.less_equal, "<": np.less, ">=": np.greater_equal, ">": np.greater}


class Acquisition:
    """Expected gains against what was tried so far.

    Attributes:
        volume: Hypervolume of the feasible front, in the unit of the gains.

    Args:
        objectives: What is better.
        limits: In force.
        logs: Metrics that are forecast as logarithms.
        tried: Forecasts of candidates that were tried.
        feasible: Of each of them, whether it meets the limits.
        seed: Of the draws.
    """

    def __init__(
        self,
        objectives: Sequence[Objective],
        limits: Sequence[Limit],
        logs: Mapping[str, bool],
        tried: Forecasts,
        feasible: Sequence[bool],
        seed: Sequence[int],
    ) -> None:
        self._objectives = objectives
        self._limits = limits
        self._logs = logs
        self._signs = np.array([1.0 if o.direction == "minimize" else -1.0 for o in objectives])
        generator = np.random.default_rng(seed)
        names = dict.fromkeys([o.metric for o in objectives] + [x.metric for x in limits])
        half = {name: generator.standard_normal(_DRAWS // 2) for name in names}
        self._normal = {name: np.concatenate([z, -z]) for name, z in half.items()}
        means = [self._value(o.metric, tried[o.metric][0]) for o in objectives]
        every = np.column_stack(means) * self._signs
        front = every[np.asarray(feasible, dtype=bool)]
        self._low, self._width, reference = _scaled(front, every)
        scaled = (front - self._low) / self._width
        self._boxes = gaps(list(map(tuple, scaled)), reference)
        better = np.clip(np.array(reference) - scaled, 0.0, None)
        self.volume = hypervolume(map(tuple, better.tolist()))

    def _value(self, name: str, forecast: Matrix) -> Matrix:
        return np.exp(forecast) if self._logs.get(name) else forecast

    def gains(self, found: Forecasts) -> Matrix:
        """Return the expected gain per candidate; 1 is the volume of the front's own box."""
        values = {
            name: self._value(name, found[name][0][:, None] + found[name][1][:, None] * z[None, :])
            for name, z in self._normal.items()
            if name in found
        }
        points = np.stack([values[o.metric] for o in self._objectives], axis=-1) * self._signs
        gain = gains((points - self._low) / self._width, self._boxes)
        for limit in self._limits:
            if limit.metric in values:
                gain = gain * _HOLDS[limit.op](values[limit.metric], limit.value)
        expected: Matrix = np.mean(gain, axis=1)
        return expected


def _scaled(front: Matrix, every: Matrix) -> tuple[Matrix, Matrix, tuple[float, ...]]:
    """Return where the scale begins, its unit, and the reference point on it.

    The reference point lies a tenth beyond the worst values of the front (Ishibuchi et al., 2018);
    of fewer than three points beyond the worst values of all that was tried.
    """
    from_ = front if len(front) >= 3 else every
    low, high = np.min(from_, axis=0), np.max(from_, axis=0)
    width = np.where(high > low, high - low, np.maximum(np.abs(high), 1e-9))
    return low, width, (1.0 + _MARGIN,) * len(low)
