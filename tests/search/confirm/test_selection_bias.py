from __future__ import annotations

import numpy as np
import pytest
from simulated import outcome, speed, study

from paretune.core.measurement import Measurement
from paretune.search.confirm.selection_bias import selection_bias
from paretune.search.constraints import Objective, parse_constraint
from paretune.search.summary import summarize
from paretune.search.tolerance import Tolerance

OBJECTIVES = (
    Objective("accuracy", "maximize", Tolerance(0.0)),
    Objective("decode_ms_p50", "minimize"),
)


def test_the_best_of_many_alike_loses_what_luck_gave_it() -> None:
    rng = np.random.default_rng(0)
    raw, left = [], []
    for _ in range(20):
        outcomes = study([0.8] * 15, [10.0] * 15, 300, rng)
        summary = summarize(outcomes, OBJECTIVES, (), outcomes[0])
        found = selection_bias(outcomes, summary, OBJECTIVES, (), outcomes[0])
        assert found is not None
        assert found.corrected == pytest.approx(found.raw - found.bias)
        raw.append(found.raw - 0.8)
        left.append(found.corrected - 0.8)
    assert np.mean(raw) > 0.012
    assert abs(float(np.mean(left))) < 0.5 * float(np.mean(raw))


def test_one_alone_and_one_far_ahead_were_not_lucky() -> None:
    rng = np.random.default_rng(1)
    for truth in ([0.8], [0.9, 0.5, 0.4]):
        outcomes = study(truth, [10.0] * len(truth), 400, rng)
        summary = summarize(outcomes, OBJECTIVES, (), outcomes[0])
        found = selection_bias(outcomes, summary, OBJECTIVES, (), outcomes[0])
        assert found is not None
        assert abs(found.bias) < 0.002


def test_a_limit_selects_too() -> None:
    rng = np.random.default_rng(2)
    limit = parse_constraint("accuracy >= 0.82")
    objectives = (Objective("decode_ms_p50", "minimize"),)
    biases = []
    for _ in range(20):
        outcomes = study([0.8] * 12, (10 + rng.random(12)).tolist(), 300, rng)
        summary = summarize(outcomes, objectives, [limit], outcomes[0])
        if summary.best is None:
            continue
        found = selection_bias(outcomes, summary, objectives, summary.limits, outcomes[0])
        assert found is not None
        biases.append(found.bias)
    assert np.mean(biases) > 0.005


def test_what_is_not_measured_on_examples_has_no_such_bias() -> None:
    bare = [
        outcome(i, Measurement("accuracy", 0.9, "fraction"), speed(ms))
        for i, ms in ((1, 20.0), (2, 9.0))
    ]
    summary = summarize(bare, OBJECTIVES, (), bare[0])
    assert selection_bias(bare, summary, OBJECTIVES, (), bare[0]) is None
    nobody = summarize(bare, OBJECTIVES, [parse_constraint("accuracy > 1")], bare[0])
    assert selection_bias(bare, nobody, OBJECTIVES, (), bare[0]) is None
