"""Outcomes of candidates with known true accuracies, who answer the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, TrialResult
from paretune.stats.intervals import wilson

Array = np.ndarray[Any, np.dtype[np.float64]]


def answers(truth: Sequence[float], n: int, rng: np.random.Generator, shared: float = 0.8) -> Array:
    """Return whether each candidate is right on each example; they find the same ones hard."""
    score = np.sqrt(shared) * rng.standard_normal(n) + np.sqrt(1 - shared) * rng.standard_normal(
        (len(truth), n)
    )
    limit = np.array([NormalDist().inv_cdf(t) for t in truth])
    right: Array = (score < limit[:, None]).astype(float)
    return right


def accuracy(samples: Sequence[float]) -> Measurement:
    n = len(samples)
    low, high = wilson(int(sum(samples)), n)
    return Measurement(
        "accuracy",
        sum(samples) / n,
        "fraction",
        low,
        high,
        n,
        "wilson-1",
        tuple(samples),
        details={"rows": list(range(n))},
    )


def speed(ms: float, off: float = 0.01) -> Measurement:
    processes = [ms * (1 - off), ms, ms * (1 + off)]
    return Measurement(
        "decode_ms_p50",
        ms,
        "ms",
        ms * (1 - 2.5 * off),
        ms * (1 + 2.5 * off),
        3,
        "device-2",
        details={"processes": [{"n": 1, "value": p, "round": None} for p in processes]},
    )


def outcome(id: int, *measured: Measurement, artifact: str | None = None) -> TrialResult:
    candidate = Candidate((Step("lora", {"r": id}),), RuntimeSettings("cpu", 1))
    return TrialResult(
        id,
        candidate,
        OutcomeKind.OK,
        artifact=artifact or f"sha256:{id}",
        measurements={m.metric: m for m in measured},
    )


def study(
    truth: Sequence[float], ms: Sequence[float], n: int, rng: np.random.Generator
) -> list[TrialResult]:
    """Return a study's outcomes, the first being the baseline's."""
    right = answers(truth, n, rng)
    return [
        outcome(i + 1, accuracy(row.tolist()), speed(t))
        for i, (row, t) in enumerate(zip(right, ms, strict=True))
    ]
