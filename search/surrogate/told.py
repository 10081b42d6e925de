"""What the models say of the one candidate that is started, in the units that a reader knows.

It is made of the forecasts by which the candidate was chosen; no model is fitted or asked for it.
An interval is that of a measurement: the variance of the forecast plus the median variance of the
measurements of that metric so far, in the scale in which the metric is forecast.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist

from paretune.core.trial_forecast import MetricForecast, TrialForecast
from paretune.search.constraints import Limit
from paretune.search.surrogate.acquisition import Forecasts
from paretune.search.surrogate.scale import Scale

_TWO_SIDED = 1.96
_NORMAL = NormalDist()


class Told:
    """Turns forecasts into what a trial is started with.

    Args:
        success: Name under which the chance of success is forecast.
    """

    def __init__(self, success: str) -> None:
        self._success = success
        self._variances: dict[str, list[float]] = {}

    def note(self, metric: str, variance: float) -> None:
        """Note an observation.

        Args:
            metric: Of what.
            variance: Of the measurement, in the scale in which the metric is forecast.
        """
        insort(self._variances.setdefault(metric, []), variance)

    def forget(self, metric: str) -> None:
        """Forget the observations of a metric: its scale is another one now."""
        self._variances.pop(metric, None)

    def forecast(
        self,
        found: Forecasts,
        place: int,
        scales: Mapping[str, Scale],
        limits: Sequence[Limit],
        seconds: float,
        gain: float | None,
    ) -> TrialForecast:
        """Return what is expected of one candidate.

        Args:
            found: Forecasts of several candidates, by name.
            place: Which of them it is.
            scales: The metrics among the names, and in which scale each is forecast.
            limits: In force.
            seconds: Still to pay for it.
            gain: Expected gain, as a share of today's hypervolume; None: there is none today.
        """
        rows = {
            name: [float(column[place]) for column in found[name]]
            for name in scales
            if name in found
        }
        normal = {name: (mean, self._deviation(name, sd)) for name, (mean, sd) in rows.items()}
        metrics = {
            name: told
            for name, (mean, deviation) in normal.items()
            if (told := self._metric(mean, deviation, scales[name])) is not None
        }
        success = min(1.0, max(0.0, float(found[self._success][0][place])))
        met = _chance(limits, normal, scales)
        return TrialForecast(
            metrics,
            success,
            None if met is None else success * met,
            seconds if math.isfinite(seconds) else None,
            gain if gain is not None and math.isfinite(gain) else None,
        )

    def _deviation(self, name: str, deviation: float) -> float:
        """Return the standard deviation of a measurement from its forecast."""
        seen = self._variances.get(name)
        return math.sqrt(deviation**2 + (seen[len(seen) // 2] if seen else 0.0))

    @staticmethod
    def _metric(mean: float, deviation: float, scale: Scale) -> MetricForecast | None:
        """Return the forecast of a metric; None: its numbers are too large to be written."""
        ends = (mean, mean - _TWO_SIDED * deviation, mean + _TWO_SIDED * deviation)
        try:
            value, low, high = map(scale.value, ends)
        except OverflowError:
            return None
        return MetricForecast(value, low, high) if math.isfinite(high - low) else None


def _chance(
    limits: Iterable[Limit],
    normal: Mapping[str, tuple[float, float]],
    scales: Mapping[str, Scale],
) -> float | None:
    """Return the chance that all limits are met; None: nothing is known of one of the metrics.

    The metrics are taken as independent of each other.
    """
    ranges: dict[str, tuple[float, float]] = {}
    for limit in limits:
        if limit.metric not in normal:
            return None
        low, high = ranges.get(limit.metric, (-math.inf, math.inf))
        bound = scales[limit.metric].of_value(limit.value)
        above = limit.op.startswith(">")
        ranges[limit.metric] = (max(low, bound), high) if above else (low, min(high, bound))
    chance = 1.0
    for name, (low, high) in ranges.items():
        mean, deviation = normal[name]
        if deviation <= 0:
            chance *= low <= mean <= high
        else:
            scaled = ((end - mean) / deviation for end in (low, high))
            below_low, below_high = map(_NORMAL.cdf, scaled)
            chance *= max(0.0, below_high - below_low)
    return chance
