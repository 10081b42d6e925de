"""What rounds that two candidates share say of them: the finals' statistics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from paretune.evaluators.pooling import last_round, log_ratio, processes_of
from paretune.evaluators.sequential import JOINT_CONFIDENCE, MedianSequence, least_rounds
from paretune.jsontools import Json
from paretune.measurement import Measurement, MetricSpec
from paretune.search.outcome import Outcome


def pair_alpha(entrants: int, metrics: int) -> float:
    """Return the error of each pair's verdict on each metric, so that all of them hold together."""
    return (1 - JOINT_CONFIDENCE) / max(1, math.comb(entrants, 2) * metrics)


def limit_alpha(finalists: int, limits: int) -> float:
    """Return the error of each answer about a limit, so that all of them hold together.

    Args:
        finalists: How many are measured in rounds.
        limits: How many limits are on what the rounds yield.
    """
    return (1 - JOINT_CONFIDENCE) / max(1, finalists * limits)


def in_rounds(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return who was measured in rounds, now or before, often enough for any answer.

    All of them share the error among them, so that an answer means the same to whoever asks.
    """
    fewest = least_rounds(pair_alpha(2, 1))
    return [o for o in outcomes if last_round(o.measurements or {}) >= fewest]


def pair_sequence(
    a: Mapping[str, Measurement], b: Mapping[str, Measurement], metric: str, alpha: float,
    spec: MetricSpec | None = None,
) -> MedianSequence:  # fmt: skip
    """Return what the rounds that two candidates share say of their ratio on a metric.

    Args:
        a: The first's measurements.
        b: The second's.
        metric: The metric.
        alpha: Probability that the bounds ever miss.
        spec: What the metric is, if a rate is to be turned around so that less is better.
    """
    sequence = MedianSequence(alpha)
    if metric not in a or metric not in b:
        return sequence
    of_b = {p["round"]: p for p in processes_of(b[metric]) if p["round"] is not None}
    sign = -1 if spec is not None and spec.direction == "maximize" else 1
    for process in processes_of(a[metric]):
        other = of_b.get(process["round"])
        if other is not None and process["value"] > 0 and other["value"] > 0:
            sequence.add(sign * log_ratio(turns_of(process), turns_of(other)))
    return sequence


def turns_of(process: Mapping[str, Json]) -> list[float]:
    """Return the medians of a process's turns; its own median where it took none."""
    return list(process.get("turns") or [process["value"]])
