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


class Divergence:
    """Adds up sequence after sequence, so that one pair of matrices is held at a time."""

    def __init__(self) -> None:
        self._means: list[float] = []
        self._agree: list[float] = []
        self._lost: list[float] = []
        self._tokens = 0

    def add(self, reference: Any, found: Any, ids: Sequence[int]) -> None:
        """Take one sequence: logarithms of the probabilities, a row per position."""
        if reference.shape != found.shape:
            raise ValueError(f"scores of shape {found.shape}, where {reference.shape} was expected")
        if not np.isfinite(found).all():
            raise ValueError("scores that are no finite numbers")
        self._means.append(float((np.exp(reference) * (reference - found)).sum(-1).mean()))
        self._agree.append(float((reference.argmax(-1) == found.argmax(-1)).mean()))
        self._lost += lost(found, ids)
        self._tokens += len(ids)

    def figures(self) -> dict[str, Any]:
        """Return KL in nats per token with the interval of its mean, agreement, perplexity."""
        means = self._means
        error = statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else math.nan
        mean = statistics.fmean(means)
        return {
            "kl_per_token": mean,
            "kl_low": mean - 2 * error,
            "kl_high": mean + 2 * error,
            "top1_agreement": statistics.fmean(self._agree),
            "perplexity": math.exp(statistics.fmean(self._lost)),
            "tokens": self._tokens,
        }


def lost(found: Any, ids: Sequence[int]) -> list[float]:
    """Return what each token but the first costs, in nats, given those before it."""
    return [-float(found[place, token]) for place, token in enumerate(ids[1:])]


def perplexity(found: Sequence[Any], sequences: Sequence[Sequence[int]]) -> float:
    """Return the perplexity of sequences, each token but the first given those before it."""
    each = [cost for m, ids in zip(found, sequences, strict=True) for cost in lost(m, ids)]
    return math.exp(statistics.fmean(each))
