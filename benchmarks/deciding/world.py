"""Simulated studies: candidates with known true accuracies, who answer the same examples.

An example has a difficulty that every candidate meets alike, and candidates that share a build's
kind also share part of what is left: answers correlate as those of real quantized models do. Given
its true accuracy, each answer of a candidate is a threshold on a normal score (a probit model), so
that the true accuracy is exact and known.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, TrialResult
from paretune.stats.intervals import wilson

_NORMAL = NormalDist()


@dataclass(frozen=True)
class World:
    """A study's truth.

    Attributes:
        accuracy: True accuracy by candidate.
        ms: True time per token by candidate.
        kind: Which build's kind each is of.
        shared: Share of the score's variance that all candidates have in common.
        alike: Share that candidates of a kind have in common beside it.
    """

    accuracy: np.ndarray
    ms: np.ndarray
    kind: np.ndarray
    shared: float = 0.7
    alike: float = 0.15


def draw_world(rng: np.random.Generator, form: str) -> World:
    """Return a study's truth.

    Args:
        rng: Where chance comes from.
        form: One of `FORMS`.
    """
    shared = float(rng.uniform(0.5, 0.85))
    accuracy, ms, kind, alike = FORMS[form](rng)
    return World(np.clip(accuracy, 0.05, 0.99), ms, kind, shared, alike * (1 - shared))


Drawn = tuple[np.ndarray, np.ndarray, np.ndarray, float]


def _kinds(rng: np.random.Generator) -> Drawn:
    """Some kinds of builds; the faster ones are less accurate."""
    count, kinds = int(rng.integers(5, 30)), int(rng.integers(1, 5))
    loss = np.sort(rng.exponential(rng.choice([0.002, 0.01, 0.03]), kinds))
    kind = rng.integers(0, kinds, count)
    spread = rng.choice([0.002, 0.005, 0.01, 0.02])
    accuracy = rng.uniform(0.6, 0.92) - loss[kind] + rng.normal(0, spread, count)
    ms = 20 * 0.75**kind * np.exp(rng.normal(0, 0.08, count))
    return accuracy, ms, kind, float(rng.uniform(0, 0.9))


def _just_beyond(rng: np.random.Generator) -> Drawn:
    """One slow model, and many fast ones that are a little worse than the tolerance allows."""
    count = int(rng.integers(4, 20))
    kind = np.minimum(np.arange(count), 1)
    accuracy = 0.8 - kind * rng.uniform(0.010, 0.03)
    ms = np.where(kind, 10 * np.exp(rng.normal(0, 0.1, count)), 30.0)
    return accuracy, ms, kind, float(rng.uniform(0, 0.9))


def _slope(rng: np.random.Generator) -> Drawn:
    """Each step towards speed costs a little accuracy."""
    x = np.sort(rng.uniform(0, 1, int(rng.integers(4, 30))))
    accuracy = 0.85 - 0.05 * x ** rng.uniform(0.5, 3) * rng.uniform(0.2, 3)
    return accuracy, 30 * np.exp(-1.5 * x), np.zeros(len(x), int), 0.0


def _few(rng: np.random.Generator) -> Drawn:
    """Two or three candidates."""
    count = int(rng.integers(2, 4))
    ms = 10 * np.exp(rng.normal(0, 0.3, count))
    return 0.8 - rng.exponential(0.03, count), ms, np.zeros(count, int), 0.0


def _alike(rng: np.random.Generator) -> Drawn:
    """Many candidates that are nearly alike: the best of them is mostly luck."""
    count = int(rng.integers(5, 60))
    ms = 10 * np.exp(rng.normal(0, 0.3, count))
    return 0.8 + rng.normal(0, 0.004, count), ms, np.zeros(count, int), 0.0


FORMS = {
    "kinds": _kinds,
    "just beyond": _just_beyond,
    "slope": _slope,
    "few": _few,
    "alike": _alike,
}


def answers(world: World, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return whether each candidate is right on each of `n` new examples: rows are candidates."""
    count = len(world.accuracy)
    hard = rng.standard_normal(n)
    by_kind = rng.standard_normal((int(world.kind.max()) + 1, n))[world.kind]
    own = rng.standard_normal((count, n))
    rest = max(0.0, 1 - world.shared - world.alike)
    score = np.sqrt(world.shared) * hard + np.sqrt(world.alike) * by_kind + np.sqrt(rest) * own
    threshold = np.array([_NORMAL.inv_cdf(a) for a in world.accuracy])
    return (score < threshold[:, None]).astype(float)


def outcomes(
    right: np.ndarray, ms: np.ndarray, noise: float = 0.02, seed: int = 0
) -> list[TrialResult]:
    """Return what a search would have on record of these candidates; candidate 1 is the baseline.

    Args:
        right: Answers, a row a candidate.
        ms: True times per token.
        noise: Spread between two processes, as a share.
        seed: Of the speeds.
    """
    rng = np.random.default_rng(seed)
    found = []
    for index, samples in enumerate(right):
        n = len(samples)
        low, high = wilson(int(samples.sum()), n)
        accuracy = Measurement(
            "accuracy",
            float(samples.mean()),
            "fraction",
            low,
            high,
            n,
            "wilson-1",
            tuple(samples.tolist()),
            details={"rows": list(range(n))},
        )
        processes = ms[index] * np.exp(rng.normal(0, noise, 3))
        value = float(np.median(processes))
        half = 4.303 * float(np.std(np.log(processes), ddof=1)) / np.sqrt(3)
        speed = Measurement(
            "decode_ms_p50",
            value,
            "ms",
            value * float(np.exp(-half)),
            value * float(np.exp(half)),
            3,
            "device-2",
            tuple(processes.tolist()),
            details={"processes": [{"n": 1, "value": float(p), "round": None} for p in processes]},
        )
        candidate = Candidate((Step("lora", {"r": index}),), RuntimeSettings("cpu", 1))
        found.append(
            TrialResult(
                index + 1,
                candidate,
                OutcomeKind.OK,
                measurements={"accuracy": accuracy, "decode_ms_p50": speed},
            )
        )
    return found
