"""Paired comparison of two candidates over the rounds in which both were measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from paretune.core.details import ProcessValue
from paretune.core.measurement import Measurement
from paretune.core.result import TrialResult
from paretune.stats.pooling import log_ratio, processes_of, round_count
from paretune.stats.sequential import JOINT_CONFIDENCE, MedianSequence, least_rounds


def pair_alpha(subjects: int, metrics: int) -> float:
    """Return the error of each pair's verdict on each metric, so that all of them hold together."""
    return (1 - JOINT_CONFIDENCE) / max(1, math.comb(subjects, 2) * metrics)


def limit_alpha(finalists: int, limits: int) -> float:
    """Return the error of each answer about a limit, so that all of them hold together.

    Args:
        finalists: How many are measured in rounds.
        limits: How many limits are on what the rounds yield.
    """
    return (1 - JOINT_CONFIDENCE) / max(1, finalists * limits)


def in_rounds(outcomes: Iterable[TrialResult]) -> list[TrialResult]:
    """Return who was measured in rounds, now or before, often enough for any answer.

    The error is divided among all of them, so that an answer does not depend on the pair.
    """
    fewest = least_rounds(pair_alpha(2, 1))
    return [o for o in outcomes if round_count(o.measurements or {}) >= fewest]


def rounds_of(measured: Mapping[str, Measurement], metric: str) -> dict[int, ProcessValue]:
    """Return the processes of a metric that were measured in rounds, by round."""
    processes = processes_of(measured[metric]) if metric in measured else []
    return {process.round: process for process in processes if process.round is not None}


def shared_rounds(
    a: Mapping[str, Measurement], b: Mapping[str, Measurement], metric: str
) -> Iterator[tuple[ProcessValue, ProcessValue]]:
    """Yield both processes of each round in which two have a positive value of a metric."""
    of_b = rounds_of(b, metric)
    for number, process in rounds_of(a, metric).items():
        other = of_b.get(number)
        if other is not None and process.value > 0 and other.value > 0:
            yield process, other


def pair_sequence(
    a: Mapping[str, Measurement], b: Mapping[str, Measurement], metric: str, alpha: float
) -> MedianSequence:
    """Return what the rounds that two candidates share say of their ratio on a metric.

    Args:
        a: The first's measurements.
        b: The second's.
        metric: The metric.
        alpha: Probability that the bounds ever miss.
    """
    sequence = MedianSequence(alpha)
    for ratio in log_ratios(a, b, metric).values():
        sequence.add(ratio)
    return sequence


def log_ratios(
    a: Mapping[str, Measurement], b: Mapping[str, Measurement], metric: str
) -> dict[int, float]:
    """Return the logarithm of the first's value over the second's, by round that both ran."""
    return {
        process.round or 0: log_ratio(*(p.turns or (p.value,) for p in (process, other)))
        for process, other in shared_rounds(a, b, metric)
    }
