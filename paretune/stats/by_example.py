"""A metric as a mean over examples, so that candidates who answered the same ones can be paired.

A share of right answers is such a mean. A perplexity, a macro F1 and what evaluators give `scores`
of are one to first order: each example has a score, the scores' mean is the metric's value, and the
scores' covariance over the examples is that of two candidates' errors (the influence function;
Efron, "Nonparametric estimates of standard error", 1981).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paretune.core.measurement import Measurement

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class Scores:
    """What each example says of a metric.

    Attributes:
        rows: Which examples.
        values: One score for each, in the metric's unit; their mean is the metric's value.
        binary: Whether each is 0 or 1.
    """

    rows: tuple[int, ...]
    values: np.ndarray[Any, np.dtype[np.float64]]
    binary: bool = False


def scores(measured: Measurement | None) -> Scores | None:
    """Return a metric's scores by example; None if it is not a mean over examples.

    Args:
        measured: With raw samples.
    """
    import numpy as np

    m = measured
    if m is None or m.value is None or not math.isfinite(m.value):
        return None
    details = m.details
    if details.processes is not None:
        return None
    if details.of_rows is not None:
        return _macro_f1(m.value, details.of_rows)
    if details.scores is not None and details.rows is not None:
        return Scores(details.rows, np.asarray(details.scores, dtype=float))
    if len(m.samples) < 2:
        return None
    samples = np.asarray(m.samples, dtype=float)
    if details.tokens_scored is not None and details.windows_seen is not None:
        counts = np.asarray(details.tokens_scored, dtype=float)
        mean = float((samples * counts).sum() / counts.sum())
        values = m.value + m.value * counts / counts.mean() * (samples - mean)
        return Scores(details.windows_seen, values)
    rows = tuple(range(len(samples))) if details.rows is None else details.rows
    # Samples of another kind (times of requests, say) do not have the value as their mean.
    if len(rows) != len(samples) or not math.isclose(
        float(samples.mean()), m.value, rel_tol=1e-6, abs_tol=1e-9
    ):
        return None
    return Scores(rows, samples, bool(np.isin(samples, (0.0, 1.0)).all()))


def _macro_f1(value: float, of_rows: tuple[tuple[int, int, int], ...]) -> Scores:
    """Return the scores of a macro F1: its derivative by each example's weight."""
    import numpy as np

    table = np.asarray(of_rows, dtype=int)
    truth, predicted, n = table[:, 1], table[:, 2], len(table)
    classes = int(table[:, 1:].max()) + 1
    hit = np.bincount(truth[truth == predicted], minlength=classes).astype(float)
    total = np.bincount(truth, minlength=classes) + np.bincount(predicted, minlength=classes)
    there = np.flatnonzero(total)
    f1 = np.divide(2 * hit, total, out=np.zeros(classes), where=total > 0)
    # An example changes the F1 of its right class and of the predicted one.
    change = np.zeros(n)
    for c in there:
        of = (truth == c).astype(float) + (predicted == c)
        change += (2.0 * ((truth == c) & (predicted == c)) - f1[c] * of) / total[c]
    values = value + n * change / len(there)
    return Scores(tuple(int(row) for row in table[:, 0]), values)
