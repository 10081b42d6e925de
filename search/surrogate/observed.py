"""Observations of one quantity in one earlier study, as they go to the process that forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Observed:
    """Observations of one quantity in one study.

    Attributes:
        alike: Whether its values are expected to be about those that are observed here.
        codes: One row per observation.
        values: What was seen.
        variances: Of the measurement.
    """

    alike: bool = False
    codes: list[Sequence[float]] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    variances: list[float] = field(default_factory=list)

    def add(self, codes: Sequence[float], value: float, variance: float) -> None:
        """Add an observation."""
        self.codes.append(codes)
        self.values.append(value)
        self.variances.append(variance)
