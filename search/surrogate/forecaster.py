"""Forecasts of everything that a search has observations of, by name.

`Forecaster` computes where it is called; `paretune.search.surrogate.process` runs one in a process
of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from paretune.search.surrogate.gaussian import Gaussian
from paretune.search.surrogate.layout import Layout, Matrix, Subject
from paretune.search.surrogate.observed import Observed
from paretune.search.surrogate.transfer import MOST_OWN, Transferred


@dataclass
class _Seen:
    codes: list[Sequence[float]] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    variances: list[float] = field(default_factory=list)
    stale: bool = True

    def arrays(self) -> tuple[Matrix, Matrix, Matrix]:
        return np.array(self.codes), np.array(self.values), np.array(self.variances)


class Forecaster:
    """Holds one model per name, which is fitted when a forecast is asked for.

    Args:
        layout: What the columns of codes are.
        subjects: Of names of which more is known than their observations.
    """

    def __init__(self, layout: Layout, subjects: Mapping[str, Subject]) -> None:
        self._layout = layout
        self._subjects = dict(subjects)
        self._models: dict[str, Gaussian] = {}
        self._seen: dict[str, _Seen] = {}
        self._earlier: dict[str, dict[str, Observed]] = {}
        self._transferred: dict[str, Transferred] = {}

    def narrow(self, name: str, columns: Sequence[int]) -> None:
        """Forecast a quantity from these columns only, from now on."""
        self._subjects[name] = replace(self._subjects.get(name, Subject()), columns=columns)
        self._models.pop(name, None)
        self._transferred.pop(name, None)
        if name in self._seen:
            self._seen[name].stale = True

    def forget(self, name: str) -> None:
        """Forget what was observed of a quantity, by earlier studies too, and its models."""
        self._seen.pop(name, None)
        self._models.pop(name, None)
        self._earlier.pop(name, None)
        self._transferred.pop(name, None)

    def observe_earlier(self, name: str, study: str, observed: Observed) -> None:
        """Add what an earlier study observed, before the first forecast."""
        self._earlier.setdefault(name, {})[study] = observed

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

    def forecast(self, codes: Matrix, *, fits: bool = True) -> dict[str, tuple[Matrix, Matrix]]:
        """Return mean and standard deviation by name, per row of codes.

        Args:
            codes: Of candidates.
            fits: Whether hyperparameters may be fitted; if not, the models have the last ones.
        """
        names = (*self._seen, *(name for name in self._earlier if name not in self._seen))
        return {name: self._forecast(name, codes, fits=fits) for name in names}

    def _forecast(self, name: str, codes: Matrix, *, fits: bool) -> tuple[Matrix, Matrix]:
        seen = self._seen.get(name)
        fresh = seen is not None and seen.stale
        own = None if seen is None else self._fitted(name, seen, fits=fits)
        if name not in self._earlier or (seen is not None and len(seen.values) >= MOST_OWN):
            assert own is not None
            return own.forecast(codes)
        if name not in self._transferred:
            earlier = self._earlier[name]
            self._transferred[name] = Transferred(self._layout, *self._subject(name), earlier)
        if seen is not None and fresh:
            self._transferred[name].fit(*seen.arrays())
        return self._transferred[name].forecast(codes, own)

    def _subject(self, name: str) -> tuple[Sequence[int], Subject]:
        subject = self._subjects.get(name, Subject())
        every = range(len(self._layout.ordered))
        return every if subject.columns is None else subject.columns, subject

    def _fitted(self, name: str, seen: _Seen, *, fits: bool) -> Gaussian:
        if name not in self._models:
            self._models[name] = Gaussian(self._layout, *self._subject(name))
        if seen.stale:
            self._models[name].fit(*seen.arrays(), fits=fits)
            seen.stale = False
        return self._models[name]
