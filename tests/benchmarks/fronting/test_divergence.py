"""KL, agreement and perplexity, on matrices whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fronting.divergence import FIGURES, Divergence, log_softmax, perplexity

SEQUENCES = [[0, 1, 1], [1, 0, 0]]


def _log(probability: float) -> np.ndarray:
    return np.log(np.tile([probability, 1 - probability], (3, 1)))


def _figures(reference: float, found: float) -> dict[str, float]:
    divergence = Divergence()
    for ids in SEQUENCES:
        divergence.add(_log(reference), _log(found), ids)
    return divergence.figures()


def test_divergence_agreement_and_perplexity() -> None:
    found = _figures(0.5, 0.75)
    assert found["kl_per_token"] == pytest.approx(0.5 * math.log(4 / 3))
    assert found["kl_low"] == pytest.approx(found["kl_high"])  # both sequences say the same
    assert found["top1_agreement"] == 1.0
    assert found["perplexity"] == pytest.approx(1 / math.sqrt(0.75 * 0.25))
    assert found["tokens"] == 6
    assert _figures(0.5, 0.5)["kl_per_token"] == 0.0
    assert _figures(0.75, 0.25)["top1_agreement"] == 0.0


def test_the_ratio_of_perplexities_is_paired_by_sequence() -> None:
    divergence = Divergence()
    for probability in (0.25, 0.4):  # half the reference's, of an easy and of a hard sequence
        divergence.add(_log(2 * probability), _log(probability), [0, 0, 0])
    found = divergence.figures()
    assert set(found) == {*FIGURES, "tokens"}
    assert [found[name] for name in ("ratio", "ratio_low", "ratio_high")] == pytest.approx([2] * 3)
    assert found["perplexity"] == pytest.approx(math.sqrt(4 * 2.5))
    error = math.exp(math.log(4 / 2.5))  # twice the standard error of two is their difference
    assert found["perplexity_high"] == pytest.approx(found["perplexity"] * error)
    assert found["perplexity_low"] == pytest.approx(found["perplexity"] / error)


def test_the_first_token_is_given() -> None:
    assert perplexity([_log(0.2)], [[0, 1, 1]]) == pytest.approx(1.25)


def test_large_logits_become_probabilities() -> None:
    found = log_softmax(np.array([[1000.0, 1000.0], [0.0, -1000.0]], dtype=np.float32))
    assert np.exp(found) == pytest.approx(np.array([[0.5, 0.5], [1.0, 0.0]]))


def test_scores_of_another_shape_or_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        Divergence().add(_log(0.5), _log(0.5)[:2], [0, 1, 1])
    with pytest.raises(ValueError, match="finite"):
        Divergence().add(_log(0.5), _log(0.5) * math.nan, [0, 1, 1])
