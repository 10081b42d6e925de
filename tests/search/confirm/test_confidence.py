"""How sure the pick is; benchmarks/decisions.py shows how often that is right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulated import accuracy, outcome, speed, study

from paretune.core.details import Details, ProcessValue
from paretune.core.measurement import Measurement
from paretune.core.result import TrialResult
from paretune.search.confirm.confidence import PickConfidence, confidence
from paretune.search.constraints import Objective, parse_constraint
from paretune.search.summary import summarize
from paretune.search.tolerance import Tolerance

OBJECTIVES = (
    Objective("accuracy", "maximize", Tolerance(0.02)),
    Objective("decode_ms_p50", "minimize"),
)


def told(
    outcomes: list[TrialResult],
    *limits: str,
    objectives: tuple[Objective, ...] = OBJECTIVES,
    prefer: str | None = None,
) -> PickConfidence:
    parsed = [parse_constraint(text) for text in limits]
    summary = summarize(outcomes, objectives, parsed, outcomes[0], prefer)
    found = confidence(outcomes, summary, objectives, outcomes[0], prefer)
    assert found is not None
    assert found.id == summary.best
    return found


def right(n: int, share: float) -> Measurement:
    return accuracy([1.0] * round(share * n) + [0.0] * (n - round(share * n)))


def test_one_that_is_far_ahead_is_sure_and_one_alone_is_certain() -> None:
    far = [outcome(1, right(400, 0.9), speed(9)), outcome(2, right(400, 0.6), speed(5))]
    found = told(far)
    assert found.id == 1
    assert found.probability == 1.0
    assert found.examples_needed is None
    assert told(far[:1]).probability == 1.0


def test_one_at_the_edge_of_the_tolerance_is_a_coin_that_no_more_examples_settle() -> None:
    a = [1.0] * 324 + [1.0] * 16 + [0.0] * 8 + [0.0] * 52
    b = [1.0] * 324 + [0.0] * 16 + [1.0] * 8 + [0.0] * 52  # 8 of 400 fewer: just 0.02
    found = told([outcome(1, accuracy(a), speed(20)), outcome(2, accuracy(b), speed(9))])
    assert found.id == 2
    assert found.probability is not None
    assert 0.3 < found.probability < 0.7
    assert found.examples_needed is None
    assert found.note is not None
    assert "too near to the edge" in found.note


def test_more_examples_make_it_surer_as_foreseen() -> None:
    def apart(n: int) -> list[TrialResult]:
        # One in twenty differs, each way alike but for one in a hundred.
        a = [1.0] * round(0.8 * n) + [1.0] * round(0.03 * n) + [0.0] * round(0.02 * n)
        b = [1.0] * round(0.8 * n) + [0.0] * round(0.03 * n) + [1.0] * round(0.02 * n)
        rest = [0.0] * (n - len(a))
        return [outcome(1, accuracy(a + rest), speed(20)), outcome(2, accuracy(b + rest), speed(9))]

    few, many = told(apart(200)), told(apart(4000))
    assert few.id == many.id == 2
    assert few.probability is not None
    assert many.probability is not None
    assert few.probability < 0.95 < many.probability
    assert few.examples_needed is not None
    settled = told(apart(100 * round(few.examples_needed * 1.15 / 100)))
    assert settled.probability is not None
    assert settled.probability >= 0.93
    assert many.examples_needed is None


def test_the_same_artifact_is_no_rival_of_itself() -> None:
    same = right(300, 0.8)
    outcomes = [
        outcome(1, same, speed(20), artifact="sha256:a"),
        outcome(2, same, speed(10), artifact="sha256:a"),
    ]
    assert told(outcomes).probability == 1.0
    other = [outcomes[0], replace(outcomes[1], artifact="sha256:b")]
    assert told(other).probability is not None


def test_limits_are_paired_with_the_baseline_and_all_hold_together() -> None:
    n = 400
    base = [1.0] * 320 + [0.0] * 80
    mine = [1.0] * 318 + [0.0] * 82  # differs on two only
    outcomes = [outcome(1, accuracy(base), speed(20)), outcome(2, accuracy(mine), speed(9))]
    found = told(outcomes, "accuracy >= baseline - 0.02", "accuracy >= 0.78", "decode_ms_p50 <= 10")
    paired, alone, fast = (part.probability for part in found.limits)
    assert paired is not None
    assert alone is not None
    assert fast is not None
    assert paired > 0.99  # two of 400 differ, whatever the spread between examples is
    assert alone < 0.9
    assert fast > 0.95
    assert found.probability is not None
    assert found.probability <= min(paired, alone, fast)
    assert n == found.examples


def test_a_rival_that_misses_a_limit_is_no_rival() -> None:
    outcomes = [
        outcome(1, right(400, 0.8), speed(20)),
        outcome(2, right(400, 0.95), speed(90)),
        outcome(3, right(400, 0.8), speed(9)),
    ]
    found = told(outcomes, "decode_ms_p50 <= 30")
    assert found.id == 3
    alone = told([outcomes[0], outcomes[2]], "decode_ms_p50 <= 30")
    assert found.probability == pytest.approx(alone.probability, abs=0.05)


def test_what_has_no_interval_is_said_not_to_be_known() -> None:
    bare = Measurement("accuracy", 0.9, "fraction", n=1)
    outcomes = [outcome(1, bare, speed(20)), outcome(2, replace(bare, value=0.895), speed(9))]
    found = told(outcomes)
    (part,) = found.within
    assert (part.probability, part.reason) == (None, "accuracy has no interval")
    assert found.probability is None
    few = [outcome(i, right(10, 0.9), speed(ms)) for i, ms in ((1, 20), (2, 9))]
    assert told(few).probability is None or told(few).examples == 0


def test_three_objectives_and_a_preferred_speed() -> None:
    size = [Measurement("size_mb", v, "MB", protocol="exact-1") for v in (400.0, 200.0, 100.0)]
    outcomes = [
        outcome(i + 1, right(400, a), speed(ms), size[i])
        for i, (a, ms) in enumerate(((0.9, 20), (0.895, 10), (0.89, 9.9)))
    ]
    three = (
        OBJECTIVES[0],
        Objective("decode_ms_p50", "minimize", Tolerance(0.3, True)),
        Objective("size_mb", "minimize"),
    )
    found = told(outcomes, objectives=three)
    assert [part.what for part in found.within] == ["accuracy", "decode_ms_p50"]
    first, second = (part.probability for part in found.within)
    assert first is not None
    assert second is not None
    assert found.probability is not None
    assert found.probability <= min(first, second)
    fast = told(outcomes, objectives=OBJECTIVES, prefer="decode_ms_p50")
    assert [part.what for part in fast.within] == ["decode_ms_p50"]
    assert fast.examples == 0
    if fast.probability is not None and fast.probability < 0.95:
        assert fast.note == "what is doubtful does not depend on the number of examples"


def test_one_objective_alone_asks_for_its_own_tolerance() -> None:
    outcomes = [outcome(1, right(400, 0.9), speed(20)), outcome(2, right(400, 0.7), speed(9))]
    found = told(outcomes, objectives=OBJECTIVES[:1])
    assert [part.what for part in found.within] == ["accuracy"]
    assert found.probability == 1.0


def test_who_says_that_it_is_sure_is_right() -> None:
    """A short form of the benchmark: many candidates, the luckiest of which is picked."""
    rng = np.random.default_rng(1)
    sure = within = 0
    for _ in range(30):
        truth = 0.8 - rng.exponential(0.02, 8)
        outcomes = study(truth.tolist(), (10 * np.exp(rng.normal(0, 0.3, 8))).tolist(), 400, rng)
        summary = summarize(outcomes, OBJECTIVES, (), outcomes[0])
        found = confidence(outcomes, summary, OBJECTIVES, outcomes[0], find_examples=False)
        assert found is not None
        assert found.probability is not None
        if found.probability >= 0.95:
            sure += 1
            within += truth[found.id - 1] >= truth.max() - 0.02
    assert sure >= 3
    assert within >= sure - 1


def in_rounds(ms: float, noise: list[float], first: int = 1) -> Measurement:
    """Return a speed whose own interval is wide, measured in rounds that others share."""
    processes = [ProcessValue(9, ms * each, first + i) for i, each in enumerate(noise)]
    return replace(speed(ms), low=0.7 * ms, high=1.4 * ms, details=Details(processes=(*processes,)))


def test_the_best_is_best_by_the_last_objective_too() -> None:
    """Equally accurate; the faster one's interval overlaps, and the rounds tell them apart."""
    same = right(400, 0.8)
    moments = [0.8, 1.0, 1.3, 0.9, 1.1, 0.95, 1.2, 0.85]  # of the machine, for both alike
    one, two = in_rounds(10.0, moments), in_rounds(9.0, moments)
    paired = told([outcome(1, same, one), outcome(2, same, two, artifact="sha256:b")])
    apart = in_rounds(9.0, moments, first=100)
    unpaired = told([outcome(1, same, one), outcome(2, same, apart, artifact="sha256:b")])
    assert paired.id == unpaired.id == 2
    assert paired.best == paired.probability
    assert unpaired.best is not None
    assert 0.4 < unpaired.best < 0.9
    assert paired.to_json()["best_probability"] == paired.best


def test_within_the_last_objective_s_tolerance_it_counts_as_the_best() -> None:
    same = right(400, 0.8)
    moments = [0.8, 1.0, 1.3, 0.9, 1.1, 0.95, 1.2, 0.85]
    rows = [
        outcome(1, same, in_rounds(10.0, moments)),
        # It was faster in its own hour, and is slower by 2 % in each round.
        outcome(2, same, replace(in_rounds(10.2, moments), value=9.9), artifact="sha256:b"),
    ]
    assert told(rows).id == 2
    assert told(rows).best == 0.0
    wide = (OBJECTIVES[0], Objective("decode_ms_p50", "minimize", Tolerance(0.03, relative=True)))
    found = told(rows, objectives=wide)
    assert found.best == found.probability
