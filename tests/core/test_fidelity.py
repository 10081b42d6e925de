"""The figures of a comparison, their bounds, and what they become."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.fidelity import (
    KL,
    METRICS,
    OUTPUT_ERROR,
    TOP1,
    VERSION,
    Compared,
    Fidelity,
    Verdict,
    measurements,
    unchanged,
    verdict_from,
)
from paretune.runtimes.next_tokens import divergence, sequences


def logits(seed: int, tokens: int = 40, width: int = 12) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [draw.normal(0, 2, (n, width)).astype(np.float32) for n in (tokens // 4, tokens)]


def test_a_model_is_itself() -> None:
    found = divergence(logits(0), logits(0))
    assert (found.kl, found.top1, found.tokens) == (0.0, 1.0, 50)
    assert not found.outside(Fidelity.FP32)


def test_the_figures_are_those_of_the_definition() -> None:
    source, build = logits(0), logits(1)
    p = np.concatenate([np.exp(a) / np.exp(a).sum(-1, keepdims=True) for a in source])
    q = np.concatenate([np.exp(a) / np.exp(a).sum(-1, keepdims=True) for a in build])
    found = divergence(source, build)
    assert found.kl == pytest.approx((p * np.log(p / q)).sum(-1).mean(), rel=1e-5)
    assert found.top1 == (p.argmax(-1) == q.argmax(-1)).mean()
    assert found.information == pytest.approx((p * np.log(p / p.mean(0))).sum(-1).mean(), rel=1e-5)


@given(st.floats(-50, 50), st.integers(0, 5))
def test_a_shift_of_all_logits_changes_nothing(shift: float, seed: int) -> None:
    source, build = logits(seed), logits(seed + 1)
    moved = divergence(source, [b + np.float32(shift) for b in build])
    assert moved.kl == pytest.approx(divergence(source, build).kl, rel=1e-3)


def test_what_ignores_the_text_has_a_ratio_of_one() -> None:
    source = logits(3)
    p = np.concatenate([np.exp(a) / np.exp(a).sum(-1, keepdims=True) for a in source])
    blind = [np.tile(np.log(p.mean(0)), (len(a), 1)) for a in source]
    found = divergence(source, blind)
    assert found.ratio == pytest.approx(1.0, rel=1e-4)
    assert found.outside(Fidelity.QUANTIZED)


def test_a_nan_is_outside_and_a_padded_vocabulary_is_not() -> None:
    source = logits(0)
    broken = [a.copy() for a in source]
    broken[1][3, 2] = np.nan
    found = divergence(source, broken)
    assert math.isnan(found.kl)
    assert all(found.outside(f) for f in Fidelity if f is not Fidelity.CHANGED)
    padded = [np.pad(a, ((0, 0), (0, 4)), constant_values=9.0) for a in source]
    assert divergence(source, padded).kl == 0.0


def test_sequences_are_cut_to_the_context_and_drawn_where_there_is_no_text() -> None:
    ids = list(range(300))
    assert [len(s) for s in sequences(ids, 400, 0)] == [16, 144]
    assert [len(s) for s in sequences(ids, 400, 100)] == [16, 99]
    drawn = sequences(None, 50, 0)
    assert drawn == sequences(ids, 50, 0)  # ids beyond the vocabulary are no text of this model
    assert all(0 <= token < 50 for each in drawn for token in each)


def test_a_verdict_is_read_back_and_one_of_another_version_is_not() -> None:
    kept = Verdict({"kl": 0.1, "top1": 0.9, "information": 3.0, "tokens": 9, "lengths": [9]})
    note = {"fidelity": kept.to_json()}
    assert verdict_from(note) == kept
    assert verdict_from({}) is None
    assert verdict_from({"fidelity": {**kept.to_json(), "version": VERSION + 1}}) is None


def test_metrics_of_a_verdict() -> None:
    assert {name: m.value for name, m in measurements(unchanged(of_arrays=False)).items()} == {
        KL: 0.0,
        TOP1: 1.0,
    }
    unknown = measurements(Verdict(None, "nobody says"))
    assert {(m.value, m.reason) for m in unknown.values()} == {(None, "nobody says")}
    assert measurements(None) == {}
    of_arrays = measurements(unchanged(of_arrays=True))
    assert {name: m.value for name, m in of_arrays.items()} == {OUTPUT_ERROR: 0.0}
    assert {spec.name for spec in METRICS} == {*unknown, *of_arrays}


def test_a_ratio_of_a_model_that_always_says_the_same_is_no_division_by_zero() -> None:
    assert not Compared(0.0, 1.0, 0.0, 10, (10,)).outside(Fidelity.FP32)
    assert Compared(0.1, 1.0, 0.0, 10, (10,)).outside(Fidelity.QUANTIZED)
