"""How good a strategy's forecasts were: derived from the outcomes, nothing of it is stored.

A forecast of a metric counts if its trial measured the metric to the end and by itself: neither a
value that was taken over from another candidate counts, nor one of a first, short measurement, nor
the same number of the same artifact under other settings. What is compared with is the value that
is known now, that of finalists re-measured.

Each error stands beside those of two forecasts without a model: the mean of what earlier candidates
(by number) measured themselves, and the last such value. Errors are relative, but those of shares
are absolute, and so are those of metrics with values that are not positive.

Seconds are those of the trial itself, without what was measured again at the end. They count for
trials that ended ``ok``, as a forecast is that of a whole trial.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, TrialResult
from paretune.core.trial_forecast import MetricForecast
from paretune.stats.ranks import rank_correlation

_AT_THE_END = frozenset({"finals", "confirm"})
"""Steps that run after the trial."""
_UNDECIDED = frozenset({OutcomeKind.PRUNED, OutcomeKind.DUPLICATE, OutcomeKind.SKIPPED})
"""Outcomes that do not say whether the candidate meets the limits."""

_DIGITS = 1e-5
"""Forecasts are kept to six digits."""


class TimedStep(Protocol):
    """A step of a trial, of an outcome or of ``results.json``."""

    @property
    def step(self) -> str:
        """What ran."""

    @property
    def s(self) -> float:
        """Its seconds."""

    @property
    def cached(self) -> bool:
        """Whether its result was taken from elsewhere."""


def trial_seconds(steps: Iterable[TimedStep]) -> float:
    """Return what a trial took, without what was measured again at the end of the search."""
    total, taken = 0.0, set[str]()
    for step in steps:
        if step.cached:
            taken.add(step.step)
        elif step.step not in _AT_THE_END and not (":" in step.step and step.step in taken):
            total += step.s
    return total


@dataclass(frozen=True)
class Quality:
    """How good the forecasts of one quantity were.

    Attributes:
        candidates: Whose forecasts count, by number.
        intervals: How many of them have an interval.
        inside: How many measured values lie inside it; 95 % would be right.
        error: Median of the absolute errors; None: they cannot be computed.
        relative: Whether errors are shares of the measured value.
        mean_error: Median error, if the mean of the earlier values is the forecast; None: there
            are none.
        last_error: Median error, if the last value before is the forecast.
        rank_correlation: Between forecasts and measured values, from -1 to 1; None: too few, or all
            are equal.
    """

    candidates: tuple[int, ...]
    intervals: int
    inside: int
    error: float | None
    relative: bool
    mean_error: float | None
    last_error: float | None
    rank_correlation: float | None

    def to_json(self) -> dict[str, Json]:
        """Return the fields by name."""
        return {**vars(self), "candidates": list(self.candidates)}


@dataclass(frozen=True)
class ChanceQuality:
    """How good the chances to be feasible were.

    Attributes:
        n: Candidates that had one and failed or were measured; not those that would only be
            feasible by values that they took over.
        expected: Mean of the chances.
        observed: Share of them that is feasible.
        brier: Mean squared difference between chance and result (Brier, 1950): 0 is right each
            time; always the observed share would be ``observed * (1 - observed)``.
    """

    n: int
    expected: float
    observed: float
    brier: float

    def to_json(self) -> dict[str, Json]:
        """Return the fields by name."""
        return dict(vars(self))


@dataclass(frozen=True)
class ForecastQuality:
    """How good the forecasts of a study were.

    Attributes:
        metrics: By metric; those of which a forecast counts.
        seconds: Of the trials' seconds; None: no forecast counts.
        feasible: Of the chances; None: there are none.
    """

    metrics: dict[str, Quality]
    seconds: Quality | None
    feasible: ChanceQuality | None

    def to_json(self) -> dict[str, Json]:
        """Return it as ``results.json`` has it."""
        return {
            "metrics": {name: found.to_json() for name, found in self.metrics.items()},
            "seconds": None if self.seconds is None else self.seconds.to_json(),
            "feasible": None if self.feasible is None else self.feasible.to_json(),
        }


def forecast_quality(
    outcomes: Sequence[TrialResult], feasible: Collection[int]
) -> ForecastQuality | None:
    """Return how good the forecasts of a study were.

    Args:
        outcomes: All of a study's.
        feasible: Ids of the feasible candidates.

    Returns:
        None: no candidate has a forecast.
    """
    if all(outcome.forecast is None for outcome in outcomes):
        return None
    metrics: dict[str, _Compared] = {}
    seconds = _Compared()
    measured_before: set[tuple[object, ...]] = set()
    for outcome in sorted(outcomes, key=lambda outcome: outcome.id):
        told = outcome.forecast
        for name, value in _own(outcome, measured_before):
            compared = metrics.setdefault(name, _Compared(relative=value.unit != "fraction"))
            expected = None if told is None else told.metrics.get(name)
            assert value.value is not None
            compared.add(outcome.id, expected, value.value)
        if outcome.kind is OutcomeKind.OK:
            expected_s = None if told is None else told.seconds
            forecast = None if expected_s is None else MetricForecast(expected_s)
            seconds.add(outcome.id, forecast, trial_seconds(outcome.seconds))
    found = {name: quality for name, c in metrics.items() if (quality := c.quality()) is not None}
    return ForecastQuality(found, seconds.quality(), _chances(outcomes, feasible))


def _own(
    outcome: TrialResult, measured_before: set[tuple[object, ...]]
) -> Iterator[tuple[str, Measurement]]:
    """Yield what a candidate measured itself, to the end."""
    if outcome.kind is OutcomeKind.DUPLICATE or outcome.transient:
        return
    for name, m in (outcome.measurements or {}).items():
        if m.value is None or not math.isfinite(m.value) or m.taken_over or m.details.early:
            continue
        same = (name, outcome.artifact, m.value, m.low, m.high)
        if outcome.artifact is not None and same in measured_before:
            continue
        measured_before.add(same)
        yield name, m


def _measured(outcome: TrialResult) -> Iterable[Measurement]:
    return (outcome.measurements or {}).values()


def _chances(outcomes: Sequence[TrialResult], feasible: Collection[int]) -> ChanceQuality | None:
    pairs = [
        (outcome.forecast.feasible, float(outcome.id in feasible))
        for outcome in outcomes
        if outcome.forecast is not None
        and outcome.forecast.feasible is not None
        and outcome.kind not in _UNDECIDED
        and not outcome.transient
        and (outcome.id in feasible or not any(m.taken_over for m in _measured(outcome)))
    ]
    if not pairs:
        return None
    n = len(pairs)
    return ChanceQuality(
        n,
        sum(chance for chance, _ in pairs) / n,
        sum(met for _, met in pairs) / n,
        sum((chance - met) ** 2 for chance, met in pairs) / n,
    )


@dataclass(frozen=True)
class _Pair:
    id: int
    forecast: MetricForecast
    measured: float
    mean: float | None
    last: float | None


def _inside(forecast: MetricForecast, measured: float) -> bool:
    assert forecast.low is not None
    assert forecast.high is not None
    rounding = _DIGITS * abs(measured)
    return forecast.low - rounding <= measured <= forecast.high + rounding


@dataclass
class _Compared:
    """Forecasts and values of one quantity, in the order of the candidates' numbers."""

    relative: bool = True
    _pairs: list[_Pair] = field(default_factory=list)
    _count: int = 0
    _mean: float = 0.0
    _last: float | None = None

    def add(self, id: int, forecast: MetricForecast | None, measured: float) -> None:
        if forecast is not None:
            mean = self._mean if self._count else None
            self._pairs.append(_Pair(id, forecast, measured, mean, self._last))
        self.relative = self.relative and measured > 0
        self._count += 1
        self._mean += (measured - self._mean) / self._count
        self._last = measured

    def quality(self) -> Quality | None:
        pairs = self._pairs
        if not pairs:
            return None
        inside = [_inside(p.forecast, p.measured) for p in pairs if p.forecast.low is not None]
        return Quality(
            tuple(pair.id for pair in pairs),
            len(inside),
            sum(inside),
            self._error((pair.forecast.value, pair.measured) for pair in pairs),
            self.relative,
            self._error((pair.mean, pair.measured) for pair in pairs),
            self._error((pair.last, pair.measured) for pair in pairs),
            rank_correlation(
                [pair.forecast.value for pair in pairs], [pair.measured for pair in pairs]
            ),
        )

    def _error(self, pairs: Iterable[tuple[float | None, float]]) -> float | None:
        errors = [
            abs(forecast - measured) / (measured if self.relative else 1.0)
            for forecast, measured in pairs
            if forecast is not None
        ]
        finite = [error for error in errors if math.isfinite(error)]
        return median(finite) if finite else None
