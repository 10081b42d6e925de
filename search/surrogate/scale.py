"""In which scale a metric is forecast.

Times, sizes and other positive metrics are forecast as ``log(value + offset)``, where the offset is
the median of the first values. Far above the offset that is a logarithm: machines and precisions
change a time by factors. Below it, it is nearly the value itself: what a layer or an operator takes
adds up, and a model that does next to nothing, in a hundredth of the usual time, does not become an
outlier. Shares are forecast as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from paretune.search.surrogate.layout import Matrix

ENOUGH = 3
"""So many values of a metric settle its scale."""
_LARGEST = 1e50
"""Values that are larger count as this one, so that their squares and products are numbers."""


@dataclass(frozen=True)
class Scale:
    """A scale of values.

    Attributes:
        offset: What is added before the logarithm is taken; None: values are taken as they are.
        share: Whether values are shares: none is forecast below 0 or above 1.
    """

    offset: float | None = None
    share: bool = False

    @classmethod
    def of(cls, values: Sequence[float], unit: str) -> Scale:
        """Return the scale that values of a metric settle.

        Args:
            values: The first `ENOUGH` of them.
            unit: Of the metric.
        """
        if unit == "fraction":
            return cls(share=0.0 <= min(values) <= max(values) <= 1.0)
        return cls(median(values) if min(values) > 0 else None)

    def takes(self, value: float) -> bool:
        """Return whether a value is one of those that the scale is for: a log scale has an end."""
        return self.offset is None or value > 0 or (value == 0 and self.offset > 0)

    def of_value(self, value: float) -> float:
        """Return a value in this scale; what lies below the scale is its lower end."""
        value = min(max(value, -_LARGEST), _LARGEST)
        if self.offset is None:
            return value
        return math.log(value + self.offset) if value > -self.offset else -math.inf

    def of_deviation(self, value: float, deviation: float) -> float:
        """Return the standard deviation of a value in this scale."""
        found = deviation if self.offset is None else deviation / (value + self.offset)
        return min(found, _LARGEST)

    def value(self, scaled: float) -> float:
        """Return the value; one that a log scale forecasts is never below zero.

        Raises:
            OverflowError: It is too large to be written.
        """
        found = float(self.values(np.array([scaled]))[0])
        if self.offset is not None and found >= _LARGEST:
            raise OverflowError(f"exp({scaled}) is too large")
        return found

    def values(self, scaled: Matrix) -> Matrix:
        """Return what `value` returns, of each; too large ones are the largest that count."""
        if self.offset is None:
            ends = (0.0, 1.0) if self.share else (-_LARGEST, _LARGEST)
            return np.clip(scaled, *ends)
        with np.errstate(over="ignore"):
            found: Matrix = np.clip(np.exp(scaled) - self.offset, 0.0, _LARGEST)
        return found
