"""What the candidates' true values may be, all of them together, given what was measured.

Candidates that answered the same examples err together: their errors' covariance is that of their
scores over the examples. Speeds err each on their own, by their intervals; a size does not err.

A candidate that is chosen among many for its value was probably lucky with its examples. How much
depends on how far apart the true values lie, which is not known. So the draws are made under each
of several spreads of the true values (a normal prior about a common mean, its spread from a tenth
to ten times of what one candidate errs by, and one without bounds), and an answer holds if it
holds under every spread that is plausible for the measured values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paretune.core.measurement import Measurement
from paretune.core.result import TrialResult
from paretune.stats.by_example import Scores, scores
from paretune.stats.intervals import student_t

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

ONE_SIDED = 0.95
"""Confidence from which a candidate counts as on one side of a limit."""
MIN_COUNT = 20
"""Examples below which the errors' distribution is not known well enough."""
_SPREADS = 9
_IMPLAUSIBLE = 3.0
"""Log-likelihood below the best spread's from which on a spread is left out."""
_NORMAL_95 = 1.959964


@dataclass(frozen=True, eq=False)
class Errors:
    """One metric of several candidates, with how far off it may be.

    Attributes:
        ids: The candidates; those with the same artifact share a column where examples count.
        column: Column of each id.
        values: What was measured, by column.
        covariance: Of the errors, by column; None where each errs on its own.
        scale: Spread of the logarithm (or of the value where one is not positive), by column.
        freedom: Degrees of freedom of each scale; 0: normal.
        examples: On how many examples; 0: not by example.
        unknown: Ids whose error is not known: they are taken at their value.
    """

    ids: tuple[int, ...]
    column: Mapping[int, int]
    values: Array
    covariance: Array | None
    scale: Array
    freedom: Array
    examples: int
    unknown: frozenset[int]


def errors_of(outcomes: Sequence[TrialResult], metric: str) -> Errors:
    """Return how far off a metric may be for each candidate that has a value of it."""
    import numpy as np

    have = [(o, m) for o in outcomes if (m := _measured(o, metric)) is not None]
    by_example = {o.id: s for o, m in have if (s := scores(m)) is not None}
    rows = _commonest(by_example)
    column: dict[int, int] = {}
    of_artifact: dict[str, int] = {}
    kept: list[tuple[int, Measurement]] = []
    for outcome, m in have:
        paired = outcome.id in by_example and by_example[outcome.id].rows == rows
        known = of_artifact.get(outcome.artifact or "") if paired else None
        # The same artifact has one true value, whatever it runs with.
        if known is not None and kept[known][1].value == m.value:
            column[outcome.id] = known
            continue
        if paired and outcome.artifact is not None:
            of_artifact[outcome.artifact] = len(kept)
        column[outcome.id] = len(kept)
        kept.append((outcome.id, m))
    values = np.array([m.value for _, m in kept], dtype=float)
    scale, freedom = np.zeros(len(kept)), np.zeros(len(kept))
    unknown = set()
    covariance = None
    joined = [
        i
        for i, (id, _) in enumerate(kept)
        if id in by_example and by_example[id].rows == rows and len(rows) >= MIN_COUNT
    ]
    if joined:
        covariance = np.zeros((len(kept), len(kept)))
        found = [by_example[kept[i][0]] for i in joined]
        covariance[np.ix_(joined, joined)] = covariance_of(found)
    for i, (id, m) in enumerate(kept):
        if i in joined:
            continue
        told = _own_scale(m)
        if told is None:
            unknown.add(id)
        elif covariance is not None:  # on other examples than most
            covariance[i, i] = (told[0] * (abs(m.value or 0.0) if told[2] else 1.0)) ** 2
        else:
            scale[i], freedom[i] = told[:2]
    return Errors(
        tuple(column),
        column,
        values,
        covariance,
        scale,
        freedom,
        len(rows) if joined else 0,
        frozenset(unknown),
    )


def covariance_of(found: Sequence[Scores]) -> Array:
    """Return the covariance of the means of several candidates' scores on the same examples.

    Half an example more is added to each one's variance (one more on which two differ): that none
    differs among a hundred does not mean that none does among a thousand.
    """
    import numpy as np

    table = np.stack([each.values for each in found])
    n = table.shape[1]
    whole = np.atleast_2d(np.cov(table)) / n
    step = 1.0 if all(each.binary for each in found) else float(np.mean(np.diag(whole))) * n
    made: Array = whole + np.eye(len(found)) * 0.5 * step / n**2
    return made


def error_of(mine: Scores) -> float:
    """Return the standard error of a metric that is a mean over examples."""
    return math.sqrt(float(covariance_of([mine])[0, 0]))


def against(mine: Scores, base: Scores, relative: tuple[str, float]) -> tuple[float, float]:
    """Return by how much a metric exceeds what is asked relative to the baseline, and its error.

    Args:
        mine: A candidate's scores.
        base: The baseline's; paired on the examples that both were measured on.
        relative: Sign and amount applied to the baseline's value.
    """
    import numpy as np

    sign, amount = relative
    factor = amount if sign == "*" else 1.0
    shift = {"+": amount, "-": -amount, "*": 0.0}[sign]
    place = {row: i for i, row in enumerate(base.rows)}
    both = [(i, place[row]) for i, row in enumerate(mine.rows) if row in place]
    if len(both) < 2:
        apart = math.hypot(error_of(mine), factor * error_of(base))
        return float(mine.values.mean() - factor * base.values.mean()) - shift, apart
    a = mine.values[[i for i, _ in both]]
    b = base.values[[j for _, j in both]]
    pair = covariance_of([Scores((), a, mine.binary), Scores((), b, base.binary)])
    weight = np.array([1.0, -factor])
    spread = math.sqrt(max(0.0, float(weight @ pair @ weight)))
    return float(a.mean() - factor * b.mean()) - shift, spread


def _measured(outcome: TrialResult, metric: str) -> Measurement | None:
    m = (outcome.measurements or {}).get(metric)
    return m if m is not None and m.value is not None and math.isfinite(m.value) else None


def _commonest(found: Mapping[int, Scores]) -> tuple[int, ...]:
    """Return the examples that most candidates were measured on; of several the most examples."""
    counts: dict[tuple[int, ...], int] = {}
    for each in found.values():
        counts[each.rows] = counts.get(each.rows, 0) + 1
    return max(counts, key=lambda rows: (counts[rows], len(rows)), default=())


def _own_scale(m: Measurement) -> tuple[float, int, bool] | None:
    """Return spread, degrees of freedom and whether it is of the logarithm; None: not known."""
    if m.low is None or m.high is None:
        return (0.0, 0, False) if m.protocol.startswith("exact") else None
    if m.low == m.high:
        return 0.0, 0, False
    freedom = max(0, len(m.details.processes or ()) - 1)
    reach = student_t(freedom) if freedom else _NORMAL_95
    if m.low > 0:
        return math.log(m.high / m.low) / 2 / reach, freedom, True
    return (m.high - m.low) / 2 / reach, freedom, False


class Draws:
    """Draws of the true values of one metric.

    Args:
        errors: What was measured.
        noise: Standard normal numbers, a row a draw, at least as many columns as candidates.
        seed: Of the chi-square numbers behind Student's t.
        share: What the errors' variance is multiplied by: n over N for N examples.
    """

    def __init__(self, errors: Errors, noise: Array, seed: int = 0, share: float = 1.0) -> None:
        self._errors, self._noise, self._seed = errors, noise, seed
        self._covariance = None if errors.covariance is None else errors.covariance * share

    def plain(self) -> Array:
        """Return draws about the measured values, one column per candidate."""
        import numpy as np

        e = self._errors
        noise = self._noise[:, : len(e.values)]
        if self._covariance is not None:
            made: Array = e.values + noise @ _root(self._covariance).T
            return made
        chi = np.random.default_rng(self._seed).chisquare(
            np.maximum(e.freedom, 1), (len(noise), len(e.values))
        )
        heavy = np.where(e.freedom > 0, noise / np.sqrt(chi / np.maximum(e.freedom, 1)), noise)
        positive = e.values > 0
        with np.errstate(over="ignore"):
            scaled = e.values * np.exp(np.clip(e.scale * heavy, -50, 50))
        drawn: Array = np.where(positive, scaled, e.values + e.scale * heavy)
        return drawn

    def shrunk(self, among: Sequence[int]) -> list[Array]:
        """Return draws under each plausible spread of the true values, one column per candidate.

        Args:
            among: Columns of those that the choice is among; the others are drawn plainly.
        """
        found = self._spreads(among)
        most = max((likelihood for likelihood, _ in found), default=0.0)
        return [drawn for likelihood, drawn in found if likelihood >= most - _IMPLAUSIBLE]

    def likeliest(self, among: Sequence[int]) -> Array:
        """Return draws under the likeliest spread of the true values, one column per candidate.

        Args:
            among: Columns of those that the choice is among.
        """
        found = self._spreads(among)
        return max(found, key=lambda one: one[0])[1] if found else self.plain()

    def _spreads(self, among: Sequence[int]) -> list[tuple[float, Array]]:
        """Return the log-likelihood of each spread, and draws under it."""
        import numpy as np

        if self._covariance is None or len(among) < 2:
            return []
        e, cols = self._errors, list(among)
        y, s = e.values[cols], self._covariance[np.ix_(cols, cols)]
        k = len(cols)
        own = float(np.mean(np.diag(s)) - (s.sum() - np.trace(s)) / (k * (k - 1)))
        if not own > 0:
            return []
        found: list[tuple[float, Array]] = []
        for spread in math.sqrt(own) * np.geomspace(0.1, 10, _SPREADS):
            found.append(self._under(spread**2, y, s, cols))
        return found

    def _under(self, prior: float, y: Array, s: Array, cols: list[int]) -> tuple[float, Array]:
        """Return the restricted log-likelihood of a prior variance, and draws under it."""
        import numpy as np

        whole = s + prior * np.eye(len(cols))
        inverse = np.linalg.inv(whole)
        weight = inverse.sum(axis=0)
        total = float(weight.sum())
        mean = float(weight @ y) / total
        rest = y - mean
        likelihood = -0.5 * (
            float(np.linalg.slogdet(whole)[1]) + math.log(total) + float(rest @ inverse @ rest)
        )
        noise = self._noise
        center = mean + noise[:, len(self._errors.values)] / math.sqrt(total)
        conditional = prior * np.eye(len(cols)) - prior**2 * inverse
        drawn = self.plain().copy()
        pull = prior * inverse
        drawn[:, cols] = (
            center[:, None]
            + (y - center[:, None]) @ pull.T
            + noise[:, : len(cols)] @ _root(conditional).T
        )
        return likelihood, drawn


def _root(matrix: Array) -> Array:
    """Return a square root of a covariance; rounding may have made it a little indefinite."""
    import numpy as np

    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    made: Array = vectors * np.sqrt(np.maximum(values, 0.0))
    return made
