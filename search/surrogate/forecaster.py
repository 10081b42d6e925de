"""Forecasts of everything that a search has observations of, by name.

`Forecaster` computes where it is called; `paretune.search.surrogate.process` runs one in a process
of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from paretune.search.surrogate.gaussian import Gaussian
from paretune.search.surrogate.layout import Layout, Matrix, Subject


@dataclass
class _Seen:
    codes: list[Sequence[float]] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    variances: list[float] = field(default_factory=list)
    stale: bool = True


class Forecaster:
    """Holds one model per name, which is fitted when a forecast is asked for.

    Args:
        layout: What the columns of codes are.
        subjects: Of names of which more is known than their observations.
    """

    def __init__(self, layout: Layout, subjects: Mapping[str, Subject]) -> None:
        self._layout = layout
        self._subjects = subjects
        self._models: dict[str, Gaussian] = {}
        self._seen: dict[str, _Seen] = {}

    def observe(self, name: str, codes: Sequence[float], value: float, variance: float) -> None:
        """Add an observation.

        Args:
            name: Of what.
            codes: Of the candidate.
            value: In the unit in which it is forecast.
            variance: Of the measurement, in the square of the unit.
        """
        seen = self._seen.setdefault(name, _Seen())
        seen.codes.append(codes)
        seen.values.append(value)
        seen.variances.append(variance)
        seen.stale = True

    def forecast(self, codes: Matrix) -> dict[str, tuple[Matrix, Matrix]]:
        """Return mean and standard deviation by name, per row of codes."""
        return {name: self._fitted(name).forecast(codes) for name in self._seen}

    def _fitted(self, name: str) -> Gaussian:
        seen, subject = self._seen[name], self._subjects.get(name, Subject())
        if name not in self._models:
            every = range(len(self._layout.ordered))
            columns = every if subject.columns is None else subject.columns
            self._models[name] = Gaussian(self._layout, columns, subject)
        if seen.stale:
            codes, values, variances = map(np.array, (seen.codes, seen.values, seen.variances))
            self._models[name].fit(codes, values, variances)
            seen.stale = False
        return self._models[name]
