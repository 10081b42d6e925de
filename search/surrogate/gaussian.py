"""A Gaussian process per metric, over the choices that the metric can depend on.

scikit-learn's regressor does the mathematics: it is maintained, needs no PyTorch, and takes a
variance per observation and a covariance of one's own. The hyperparameters are those of the highest
posterior density under `kernel.prior`; with maximum likelihood alone, ten observations would decide
about thirty of them. They are fitted on at most `FITTED` observations, and again when there are a
fifth more; more than `KEPT` observations are thinned out (subset of data; Rasmussen and Williams,
"Gaussian Processes for Machine Learning", 2006, 8.3.1), and of more than `MANY` fewer are kept, so
that the time per ask is bounded.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor

from paretune.search.surrogate.allowance import MANY
from paretune.search.surrogate.kernel import ChainKernel, prior
from paretune.search.surrogate.layout import Layout, Matrix, Subject

FITTED = 120
"""Most observations that hyperparameters are fitted on."""
KEPT = 400
"""Most observations that a forecast uses."""
KEPT_OF_MANY = 150
"""The same where there are more than `paretune.search.surrogate.allowance.MANY`."""
_MODELLED_FROM = 3
"""Fewer observations are forecast by their mean."""
_STEPS = 40
_BOUNDED_FROM = 8
_BOUND, _LEAST_WIDTH = 2.0, 1 / 3
"""How many times as far from the median as the best value a bad one counts; the best one is taken
as at least this share of the expected spread away from it."""
_NUGGET = 1e-4
"""Variance of an exact observation, of values with a variance of 1: keeps the matrix regular."""


class Gaussian:
    """Forecasts one metric.

    Args:
        layout: What the columns are.
        columns: Those that the metric can depend on.
        subject: What is known of it.
    """

    def __init__(self, layout: Layout, columns: Sequence[int], subject: Subject) -> None:
        self._columns = list(columns)
        self._better, self._spread = subject.better, subject.spread
        self._layout = layout.only(self._columns)
        self._theta: Matrix | None = None
        self._fitted_on = 0
        self._model: GaussianProcessRegressor | None = None
        self._mean, self._scale = 0.0, 1.0

    def fit(self, codes: Matrix, values: Matrix, variances: Matrix, *, fits: bool = True) -> None:
        """Take observations into account, in the order in which they came.

        Args:
            codes: One row per observation.
            values: What was seen.
            variances: Of the measurement, in the square of the unit.
            fits: Whether hyperparameters may be fitted. If not, they are the last ones, or those
                that the prior expects.
        """
        codes = codes[:, self._columns]
        self._model = None
        self._mean, self._scale, targets, noise = self._standard(values, variances)
        if not self._columns or len(values) < _MODELLED_FROM or not np.ptp(targets):
            return
        due = fitted_at(len(values))
        if fits and due != self._fitted_on:
            # Of the first ones alone: a search that was resumed gets the same hyperparameters.
            _, _, first, its_noise = self._standard(values[:due], variances[:due])
            self._theta = self._optimize(codes[:due], first, its_noise)
            self._fitted_on = due
        kept = _thinned(len(values), KEPT if len(values) <= MANY else KEPT_OF_MANY)
        self._model = self._regressor(noise[kept], None)
        expected = prior(self._model.kernel)[0]
        self._model.kernel.theta = expected if self._theta is None else self._theta
        self._model.fit(codes[kept], targets[kept])

    def _standard(self, values: Matrix, variances: Matrix) -> tuple[float, float, Matrix, Matrix]:
        """Return mean and scale of values, and values and variances in these terms."""
        values = self._bounded(values)
        mean = float(np.mean(values))
        # What a few observations differ by tells little: the expected spread counts as one more.
        squares = float(np.sum((values - mean) ** 2)) + self._spread**2
        scale = math.sqrt(squares / (len(values) + 1))
        return mean, scale, (values - mean) / scale, np.maximum(variances / scale**2, _NUGGET)

    def _bounded(self, values: Matrix) -> Matrix:
        """Return values of which none is much farther from the median than the best one."""
        if not self._better or len(values) < _BOUNDED_FROM:
            return values
        signed = self._better * values
        # Of different values: where most are equal, what differs must not be taken for them.
        middle, best = float(np.median(np.unique(signed))), float(np.max(signed))
        width = max(best - middle, _LEAST_WIDTH * self._spread)
        return self._better * np.maximum(signed, middle - _BOUND * width)

    def _optimize(self, codes: Matrix, targets: Matrix, noise: Matrix) -> Matrix:
        kept = _thinned(len(targets), FITTED)
        model = self._regressor(noise[kept], _most_probable(self._kernel()))
        with warnings.catch_warnings():
            # A weight at its bound is a choice without influence, and no fault.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(codes[kept], targets[kept])
        found: Matrix = model.kernel_.theta
        return found

    def forecast(self, codes: Matrix) -> tuple[Matrix, Matrix]:
        """Return mean and standard deviation of the metric of candidates, one row each."""
        if self._model is None:
            flat = np.full(len(codes), self._mean)
            return flat, np.full(len(codes), self._scale if self._columns else 0.0)
        mean, deviation = self._model.predict(codes[:, self._columns], return_std=True)
        return self._mean + self._scale * mean, self._scale * deviation

    def _kernel(self) -> ChainKernel:
        stages = max(self._layout.stages) + 1
        weights = [0.5] * len(self._columns)
        return ChainKernel(
            self._layout.ordered, self._layout.stages, weights, by_stage=[0.3] * stages
        )

    def _regressor(self, noise: Matrix, optimizer: Callable[..., Any] | None) -> Any:
        return GaussianProcessRegressor(self._kernel(), alpha=noise, optimizer=optimizer)


def fitted_at(count: int) -> int:
    """Return how many of the first observations the hyperparameters are fitted on."""
    at = 4
    while at < count and (following := max(at + 2, at * 6 // 5)) <= count:
        at = following
    return min(at, count)


def _thinned(count: int, most: int) -> NDArray[np.intp]:
    """Return which observations are used: all, or evenly over time, half of them the latest."""
    if count <= most:
        return np.arange(count)
    latest = most // 2
    early = np.linspace(0, count - latest - 1, most - latest).astype(int)
    return np.concatenate([early, np.arange(count - latest, count)])


def _most_probable(kernel: ChainKernel) -> Callable[..., tuple[Matrix, float]]:
    """Return an optimizer for scikit-learn that adds the prior's density to the likelihood."""
    mean, deviation = prior(kernel)

    def optimize(objective: Any, initial: Matrix, bounds: Matrix) -> tuple[Matrix, float]:
        from scipy.optimize import minimize

        def with_prior(theta: Matrix) -> tuple[float, Matrix]:
            value, gradient = objective(theta, eval_gradient=True)
            off = (theta - mean) / deviation
            return value + 0.5 * float(off @ off), gradient + off / deviation

        found = minimize(
            with_prior,
            mean,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": _STEPS},
        )
        return found.x, float(found.fun)

    return optimize
