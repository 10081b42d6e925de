"""Forecasts of a quantity from earlier studies' observations of it, corrected by those made here.

Each earlier study is a hypothesis on how the values of this one come about: its own forecast ``f``
(a Gaussian process over what it observed), shifted and scaled, plus a deviation that is a Gaussian
process over the choices: ``y(x) = a + w f(x) + r(x)``. ``a``, ``w`` and the size of ``r`` have
distributions that are narrow where the studies are expected to be about alike, and are learned from
what was observed here. One more hypothesis is that none of the studies has anything to say. The
hypotheses are weighted by how probable they make the observations (Bayesian model averaging), so
that a study loses its weight where the observations contradict it; among them, the one that knows
more of a candidate counts more there. Times and sizes are logarithms, so that a shift is a factor.

Transfer through the earlier study's mean: Golovin et al., "Google Vizier", 2017, 3.3; weights of
several studies: Feurer et al., "Scalable meta-learning for Bayesian optimization", 2018.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paretune.search.surrogate.gaussian import Gaussian
from paretune.search.surrogate.kernel import ChainKernel, prior
from paretune.search.surrogate.layout import Layout, Matrix, Subject
from paretune.search.surrogate.observed import Observed

MOST_OWN = 100
"""Observations made here from which on the earlier studies are left out."""
_OWN_MODEL_FROM = 4
_SIZES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Standard deviations of `r` that are compared, in those of the earlier study's values."""
_USUAL_SIZE = {True: 0.05, False: 0.2}
_SPREAD = 1.0
"""Standard deviation of the logarithm of that size."""
_SHIFT = {True: 0.2, False: 3.0}
_SCALE = {True: 0.1, False: 0.4}
_NOTHING = 0.1
"""Probability, before anything was observed here, that no earlier study has anything to say."""
_MOST_UNSURE = 4.0
"""By how much a hypothesis counts less, at most, where it knows less of a candidate."""
_LEAST = 1e-3
"""Smallest standard deviation of a measurement, in that of the values."""


class _Task:
    """What one earlier study forecasts; it never changes, so that nothing is computed twice."""

    def __init__(self, layout: Layout, subject: Subject, codes: Matrix, observed: Observed) -> None:
        self.alike = observed.alike
        values, variances = np.array(observed.values), np.array(observed.variances)
        self.centre = float(np.mean(values))
        # Where all are alike, what is seen here must still count: see `Gaussian` for the term.
        squares = float(np.sum((values - self.centre) ** 2)) + subject.spread**2
        self.scale = math.sqrt(squares / (len(values) + 1))
        self._gaussian = Gaussian(layout, range(len(layout.ordered)), subject)
        self._gaussian.fit(codes, values, variances)
        # A thinned model forgets what it was not fitted on: the value itself is known still.
        self._measured: dict[bytes, tuple[float, float]] = {}
        least = (_LEAST * self.scale) ** 2
        for row, value, variance in zip(codes, values, variances, strict=True):
            self._measured[row.tobytes()] = (float(value), max(float(variance), least))
        self._known: dict[bytes, tuple[float, float]] = {}

    def forecast(self, codes: Matrix) -> tuple[Matrix, Matrix]:
        """Return mean and variance, per row."""
        keys = [row.tobytes() for row in codes]
        new = {key: n for n, key in enumerate(keys) if key not in self._known}
        if new:
            means, deviations = self._gaussian.forecast(codes[list(new.values())])
            for key, mean, deviation in zip(new, means, deviations, strict=True):
                self._known[key] = self._with_value(key, float(mean), float(deviation) ** 2)
        found = np.array([self._known[key] for key in keys], dtype=float).reshape(-1, 2)
        return found[:, 0], found[:, 1]

    def _with_value(self, key: bytes, mean: float, variance: float) -> tuple[float, float]:
        if key not in self._measured:
            return mean, variance
        value, noise = self._measured[key]
        share = variance / (variance + noise)
        return mean + share * (value - mean), share * noise


@dataclass(frozen=True)
class _Fitted:
    """A hypothesis with what was observed here.

    Attributes:
        size: Standard deviation of its deviation.
        evidence: Logarithm of how probable it makes the observations.
        solved: The observations less what it expected, through the inverse of their covariance.
        factor: The triangular factor of their covariance.
    """

    size: float
    evidence: float
    solved: Matrix
    factor: Matrix


class _Hypothesis:
    """How the values of this study come about.

    Args:
        task: Through this earlier study; None: through none.
        kernel: Of the deviation, with a variance of 1; None: it depends on no choice.
        centre: Mean of values that no study foresees.
        scale: Their standard deviation.
    """

    def __init__(
        self, task: _Task | None, kernel: ChainKernel | None, centre: float, scale: float
    ) -> None:
        self._task = task
        self._kernel = kernel
        self._centre = centre if task is None else task.centre
        self._scale = scale if task is None else task.scale
        alike = task is not None and task.alike
        self._shift = _SHIFT[alike] * self._scale
        self._slope = _SCALE[alike]
        self._usual = 1.0 if task is None else _USUAL_SIZE[alike]

    def _earlier(self, codes: Matrix) -> tuple[Matrix, Matrix]:
        if self._task is None:
            return np.full(len(codes), self._centre), np.zeros(len(codes))
        return self._task.forecast(codes)

    def _covariance(
        self, a: Matrix, b: Matrix, means: tuple[Matrix, Matrix], size: float
    ) -> Matrix:
        x: Matrix = means[0] - self._centre
        y: Matrix = means[1] - self._centre
        like: Any = 1.0 if self._kernel is None else self._kernel(a, b)
        linear = self._slope**2 * x[:, None] * y[None, :] + self._shift**2
        found: Matrix = linear + (size * self._scale) ** 2 * like
        return found

    def fit(self, codes: Matrix, values: Matrix, variances: Matrix) -> _Fitted:
        """Return it with observations; of the sizes of the deviation, the most probable one."""
        mean, own = self._earlier(codes)
        noise = np.maximum(variances, (_LEAST * self._scale) ** 2)
        same = _same(codes, codes) * np.sqrt(own[:, None] * own[None, :])
        tried, weights = [], []
        for size in _SIZES:
            covariance = self._covariance(codes, codes, (mean, mean), size) + same
            factor = np.linalg.cholesky(covariance + np.diag(noise))
            solved = _solve(factor, values - mean)
            off = math.log(size / self._usual) / _SPREAD
            evidence = -0.5 * float((values - mean) @ solved)
            evidence -= float(np.sum(np.log(np.diag(factor))))
            tried.append(_Fitted(size, evidence, solved, factor))
            weights.append(-0.5 * off * off)
        total = np.logaddexp.reduce([t.evidence + w for t, w in zip(tried, weights, strict=True)])
        total -= np.logaddexp.reduce(weights)
        best = max(range(len(tried)), key=lambda n: tried[n].evidence + weights[n])
        return _Fitted(tried[best].size, float(total), tried[best].solved, tried[best].factor)

    def forecast(
        self, codes: Matrix, seen: Matrix | None, fitted: _Fitted | None
    ) -> tuple[Matrix, Matrix]:
        """Return mean and variance, per row of codes."""
        mean, own = self._earlier(codes)
        size = self._usual if fitted is None else fitted.size
        wide = (size * self._scale) ** 2 + self._shift**2
        variance = wide + (self._slope * (mean - self._centre)) ** 2 + own
        if fitted is not None and seen is not None:
            then, its = self._earlier(seen)
            cross = self._covariance(codes, seen, (mean, then), size)
            cross = cross + _same(codes, seen) * np.sqrt(own[:, None] * its[None, :])
            mean = mean + cross @ fitted.solved
            half = np.linalg.solve(fitted.factor, cross.T)
            variance = variance - np.sum(half * half, axis=0)
        return mean, np.maximum(variance, (_LEAST * self._scale) ** 2)


class Transferred:
    """Forecasts one quantity from earlier studies and from what was observed here.

    Args:
        layout: What the columns are.
        columns: Those that the quantity can depend on.
        subject: What is known of it.
        earlier: Observations by study.
    """

    def __init__(
        self,
        layout: Layout,
        columns: Sequence[int],
        subject: Subject,
        earlier: Mapping[str, Observed],
    ) -> None:
        self._columns = list(columns)
        layout = layout.only(self._columns)
        tasks = [
            _Task(layout, subject, self._chosen(np.array(observed.codes, dtype=float)), observed)
            for _, observed in sorted(earlier.items())
        ]
        centre = float(np.mean([task.centre for task in tasks]))
        scale = max(task.scale for task in tasks)
        kernel = _unit(layout)
        self._hypotheses = [_Hypothesis(task, kernel, centre, scale) for task in (*tasks, None)]
        share = (1 - _NOTHING) / len(tasks)
        self._before = np.log([*([share] * len(tasks)), _NOTHING])
        self._seen: Matrix | None = None
        self._fitted: list[_Fitted | None] = [None] * len(self._hypotheses)

    def _chosen(self, codes: Matrix) -> Matrix:
        return np.ascontiguousarray(codes[:, self._columns])

    @property
    def weights(self) -> list[float]:
        """How probable each hypothesis is: the studies by name, and that none has a say."""
        found = self._before + [0.0 if f is None else f.evidence for f in self._fitted]
        weights: list[float] = np.exp(found - np.logaddexp.reduce(found)).tolist()
        return weights

    def fit(self, codes: Matrix, values: Matrix, variances: Matrix) -> None:
        """Take what was observed here into account."""
        self._seen = self._chosen(codes)
        self._fitted = [h.fit(self._seen, values, variances) for h in self._hypotheses]

    def forecast(self, codes: Matrix, own: Gaussian | None) -> tuple[Matrix, Matrix]:
        """Return mean and standard deviation, per row.

        Args:
            codes: Of candidates.
            own: The model of what was observed here alone, if there is one.
        """
        seen, chosen = self._seen, self._chosen(codes)
        found = [
            h.forecast(chosen, seen, f) for h, f in zip(self._hypotheses, self._fitted, strict=True)
        ]
        if own is not None and seen is not None and len(seen) >= _OWN_MODEL_FROM:
            mean, deviation = own.forecast(codes)
            found[-1] = (mean, np.maximum(deviation**2, 1e-12))
        means = np.array([mean for mean, _ in found])
        variances = np.array([variance for _, variance in found])
        unsure = np.clip(np.sqrt(variances / np.min(variances, axis=0)), 1.0, _MOST_UNSURE)
        shares = np.array(self.weights)[:, None] / unsure
        shares = shares / np.sum(shares, axis=0)
        mean = np.sum(shares * means, axis=0)
        variance = np.sum(shares * (variances + (means - mean) ** 2), axis=0)
        return mean, np.sqrt(variance)


def _same(a: Matrix, b: Matrix) -> Matrix:
    found: Matrix = np.all(a[:, None, :] == b[None, :, :], axis=2).astype(float)
    return found


def _solve(factor: Matrix, values: Matrix) -> Matrix:
    found: Matrix = np.linalg.solve(factor.T, np.linalg.solve(factor, values))
    return found


def _unit(layout: Layout) -> ChainKernel | None:
    """Return the usual covariance over choices, with a variance of 1; None: there is no choice."""
    if not layout.ordered:
        return None
    stages = max(layout.stages, default=0) + 1
    kernel = ChainKernel(
        layout.ordered, layout.stages, [0.5] * len(layout.ordered), by_stage=[0.3] * stages
    )
    kernel.theta = prior(kernel)[0]
    total = kernel.diag(np.zeros((1, len(layout.ordered))))[0]
    kernel.by_choice, kernel.together = kernel.by_choice / total, kernel.together / total
    kernel.by_stage = [variance / total for variance in np.atleast_1d(kernel.by_stage)]
    return kernel
