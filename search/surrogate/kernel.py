"""A covariance over chains of passes: additive over choices and stages, plus their interaction.

A candidate is a row of codes, one per choice: the position of a label, or a number in [0, 1] where
the values are ordered; -1 where the candidate does not come by the choice. Two candidates are as
far apart in a choice as their codes differ; a choice that only one of them has counts as 1.

With ``m`` the Matern 5/2 function of the weighted squared distance, the covariance is
``a * mean_c m(c) + sum_s b_s m(s) + i * m(all)``: each choice by itself, each stage as a whole, and
everything together. The accuracy of a build is then that of its trained parent plus
what the build costs, as far as the data does not say otherwise. Additive kernels of this form:
Duvenaud, Nickisch and Rasmussen, "Additive Gaussian Processes", 2011.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.gaussian_process.kernels import Hyperparameter, Kernel

from paretune.search.surrogate.layout import ABSENT, Matrix

_BOUNDS = (1e-4, 1e4)


class ChainKernel(Kernel):  # type: ignore[misc]  # scikit-learn has no types
    """The covariance of this module, in the form of scikit-learn's kernels.

    Args:
        ordered: Of each choice, whether its codes are numbers and not labels.
        stages: Of each choice, the number of the stage that it belongs to, from 0.
        weights: Of each choice, its weight.
        by_choice: Variance of the part that adds up over choices.
        by_stage: Variances of the parts that add up over stages.
        together: Variance of the interaction of everything.
    """

    def __init__(
        self,
        ordered: tuple[bool, ...],
        stages: tuple[int, ...],
        weights: Sequence[float],
        by_choice: float = 0.3,
        by_stage: Sequence[float] = (),
        together: float = 0.3,
    ) -> None:
        self.ordered = ordered
        self.stages = stages
        self.weights = weights
        self.by_choice = by_choice
        self.by_stage = by_stage
        self.together = together

    @property
    def hyperparameter_by_choice(self) -> Hyperparameter:
        """Declare the variance over choices."""
        return Hyperparameter("by_choice", "numeric", _BOUNDS)

    @property
    def hyperparameter_by_stage(self) -> Hyperparameter:
        """Declare the variances over stages."""
        return Hyperparameter("by_stage", "numeric", _BOUNDS, np.size(self.by_stage))

    @property
    def hyperparameter_together(self) -> Hyperparameter:
        """Declare the variance of the interaction."""
        return Hyperparameter("together", "numeric", _BOUNDS)

    @property
    def hyperparameter_weights(self) -> Hyperparameter:
        """Declare the weights of the choices."""
        return Hyperparameter("weights", "numeric", _BOUNDS, np.size(self.weights))

    def __call__(
        self, X: Matrix, Y: Matrix | None = None, eval_gradient: bool = False
    ) -> Matrix | tuple[Matrix, Matrix]:
        """Return the covariances of rows of `X` with rows of `Y`.

        Args:
            X: Codes, one row per candidate.
            Y: The same; None: `X`.
            eval_gradient: Return the derivatives by the logarithms of all hyperparameters, too.
        """
        other = X if Y is None else Y
        weights = np.atleast_1d(np.asarray(self.weights, dtype=float))
        apart = [w * self._apart(X, other, c) for c, w in enumerate(weights)]
        single = [_matern(one) for one in apart]
        of_stage = self._by_stage(apart)
        whole = _matern(sum(apart, np.zeros((len(X), len(other)))))
        variances = np.atleast_1d(np.asarray(self.by_stage, dtype=float))
        share = self.by_choice / len(apart)
        k: Matrix = share * sum(single) + self.together * whole
        k = k + sum(v * _matern(d) for v, d in zip(variances, of_stage, strict=True))
        if not eval_gradient:
            return k
        # In the order of the names, as scikit-learn has its hyperparameters.
        gradient = [share * sum(single)]
        gradient += [v * _matern(d) for v, d in zip(variances, of_stage, strict=True)]
        gradient.append(self.together * whole)
        slope_whole = self.together * _slope(sum(apart, np.zeros_like(whole)))
        slopes = [v * _slope(d) for v, d in zip(variances, of_stage, strict=True)]
        for c, one in enumerate(apart):
            stage = slopes[self.stages[c]]
            gradient.append(one * (share * _slope(one) + stage + slope_whole))
        return k, np.stack(gradient, axis=-1)

    def _by_stage(self, apart: Sequence[Matrix]) -> list[Matrix]:
        found = [np.zeros_like(apart[0]) for _ in np.atleast_1d(self.by_stage)]
        for stage, one in zip(self.stages, apart, strict=True):
            found[stage] = found[stage] + one
        return found

    def _apart(self, X: Matrix, Y: Matrix, choice: int) -> Matrix:
        """Return the squared distances in one choice, 1 at most."""
        x, y = X[:, choice][:, None], Y[:, choice][None, :]
        if not self.ordered[choice]:
            return np.asarray(x != y, dtype=float)
        one_absent = (x == ABSENT) != (y == ABSENT)
        return np.where(one_absent, 1.0, (x - y) ** 2)

    def diag(self, X: Matrix) -> Matrix:
        """Return the variances of rows of `X`: all the same."""
        total = self.by_choice + float(np.sum(self.by_stage)) + self.together
        return np.full(len(X), total)

    def is_stationary(self) -> bool:
        """Return whether the covariance depends on differences only."""
        return True

    def __repr__(self) -> str:
        return f"ChainKernel({len(self.ordered)} choices, {np.size(self.by_stage)} stages)"


def _matern(squared: Any) -> Matrix:
    r = np.sqrt(5.0 * squared)
    found: Matrix = (1.0 + r + r * r / 3.0) * np.exp(-r)
    return found


def _slope(squared: Any) -> Matrix:
    """Return the derivative of `_matern` by the squared distance."""
    r = np.sqrt(5.0 * squared)
    found: Matrix = -(5.0 / 6.0) * (1.0 + r) * np.exp(-r)
    return found


def prior(kernel: ChainKernel) -> tuple[Matrix, Matrix]:
    """Return mean and standard deviation of the logarithm of each hyperparameter.

    The values are standardized, so that the variances are about 1 together. A weight of 1 makes
    the two ends of a range, or two labels, correlate by a half.
    """
    stages, choices = len(np.atleast_1d(kernel.by_stage)), len(np.atleast_1d(kernel.weights))
    mean = [math.log(0.3)] + [math.log(0.3)] * stages + [math.log(0.2)] + [math.log(0.5)] * choices
    sd = [1.5] + [1.5] * stages + [1.5] + [1.5] * choices
    return np.array(mean), np.array(sd)
