"""What a strategy expects of a trial when it starts it; kept beside what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from paretune.core.jsontools import Json


@dataclass(frozen=True)
class MetricForecast:
    """The forecast of one metric, in its own unit.

    Attributes:
        value: What is expected.
        low: Lower end of the 95 % interval of what will be measured, the noise of the measurement
            included as far as it is known; None: no interval is given.
        high: Upper end of it.

    Raises:
        ValueError: A number is not finite, or the interval does not hold the value.
    """

    value: float
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval has two ends")
        ends = [self.value if end is None else end for end in (self.low, self.high)]
        if not all(map(math.isfinite, (self.value, *ends))):
            raise ValueError(f"a forecast is a finite number, not {self}")
        if not ends[0] <= self.value <= ends[1]:
            raise ValueError(f"the interval of a forecast holds its value, unlike {self}")

    def to_json(self) -> dict[str, Json]:
        """Return the fields by name, to six digits."""
        return {"value": _short(self.value), "low": _short(self.low), "high": _short(self.high)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> MetricForecast:
        """Read what `to_json` wrote."""
        return cls(value["value"], value.get("low"), value.get("high"))


@dataclass(frozen=True)
class TrialForecast:
    """What a strategy expects of a trial that runs to its last rung; None: it does not say.

    Attributes:
        metrics: By metric.
        success: Chance, from 0 to 1, that the trial does not fail.
        feasible: Chance that it does not fail and meets the limits in force.
        seconds: What it will take: passes whose output is in the store take no time.
        gain: Expected gain in hypervolume, as a share of that of today's feasible front.

    Raises:
        ValueError: A chance is not within 0 and 1, or a number is not finite or negative.
    """

    metrics: Mapping[str, MetricForecast] = field(default_factory=dict)
    success: float | None = None
    feasible: float | None = None
    seconds: float | None = None
    gain: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, most in (("success", 1.0), ("feasible", 1.0), ("seconds", None), ("gain", None)):
            value = getattr(self, name)
            if value is None:
                continue
            if not math.isfinite(value) or value < 0 or (most is not None and value > most):
                raise ValueError(f"{name} of a forecast cannot be {value}")

    def to_json(self) -> dict[str, Json]:
        """Return what is given, by name."""
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        return {
            "metrics": {name: metric.to_json() for name, metric in self.metrics.items()},
            **{name: _short(value) for name, value in numbers.items() if value is not None},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TrialForecast:
        """Read what `to_json` wrote."""
        metrics = {n: MetricForecast.from_json(m) for n, m in value.get("metrics", {}).items()}
        return cls(metrics, **{name: value.get(name) for name in _NUMBERS})


_NUMBERS = ("success", "feasible", "seconds", "gain")


def read_forecast(value: Mapping[str, Any] | None) -> TrialForecast | None:
    """Return the forecast of a file; None: the trial was started without one."""
    return None if value is None else TrialForecast.from_json(value)


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
