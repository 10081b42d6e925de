"""How far a model's next tokens are from another's: KL, agreement, perplexity.

Needs numpy only: it also runs in the environments of the peers.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np


def log_softmax(logits: Any) -> Any:
    """Return the logarithms of the probabilities, a row per position."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


_KL, _PERPLEXITY, _RATIO = (
    (name, f"{short}_low", f"{short}_high")
    for name, short in (("kl_per_token", "kl"), ("perplexity", "perplexity"), ("ratio", "ratio"))
)
FIGURES = (*_KL, "top1_agreement", *_PERPLEXITY, *_RATIO)
"""What is said of how far a model is from the reference."""


class Divergence:
    """Adds up sequence after sequence, so that one pair of matrices is held at a time."""

    def __init__(self) -> None:
        self._means: list[float] = []
        self._agree: list[float] = []
        self._lost: list[tuple[float, float]] = []
        self._tokens = 0

    def add(self, reference: Any, found: Any, ids: Sequence[int]) -> None:
        """Take one sequence: logarithms of the probabilities, a row per position."""
        if reference.shape != found.shape:
            raise ValueError(f"scores of shape {found.shape}, where {reference.shape} was expected")
        if not np.isfinite(found).all():
            raise ValueError("scores that are no finite numbers")
        self._means.append(float((np.exp(reference) * (reference - found)).sum(-1).mean()))
        self._agree.append(float((reference.argmax(-1) == found.argmax(-1)).mean()))
        own, known = (statistics.fmean(lost(each, ids)) for each in (found, reference))
        self._lost.append((own, known))
        self._tokens += len(ids)

    def figures(self) -> dict[str, Any]:
        """Return `FIGURES`: KL in nats per token, agreement of the first choice, perplexity.

        KL, perplexity and its ratio to the reference's have intervals: of the mean over sequences,
        and for the ratio of the mean difference, so that what makes one text harder than another
        is not in it.
        """
        kl = _mean_with_interval(self._means)
        own = _mean_with_interval([found for found, _ in self._lost])
        more = _mean_with_interval([found - known for found, known in self._lost])
        return {
            **dict(zip(_KL, kl, strict=True)),
            "top1_agreement": statistics.fmean(self._agree),
            **dict(zip(_PERPLEXITY, map(math.exp, own), strict=True)),
            **dict(zip(_RATIO, map(math.exp, more), strict=True)),
            "tokens": self._tokens,
        }


def _mean_with_interval(found: Sequence[float]) -> tuple[float, float, float]:
    """Return a mean, and two standard errors below and above it."""
    error = statistics.stdev(found) / math.sqrt(len(found)) if len(found) > 1 else math.nan
    mean = statistics.fmean(found)
    return mean, mean - 2 * error, mean + 2 * error


def lost(found: Any, ids: Sequence[int]) -> list[float]:
    """Return what each token but the first costs, in nats, given those before it."""
    return [-float(found[place, token]) for place, token in enumerate(ids[1:])]


def perplexity(found: Sequence[Any], sequences: Sequence[Sequence[int]]) -> float:
    """Return the perplexity of sequences, each token but the first given those before it."""
    each = [cost for m, ids in zip(found, sequences, strict=True) for cost in lost(m, ids)]
    return math.exp(statistics.fmean(each))
