"""Intervals that draw on a whole study are narrower, and hold as often."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.measurement import Measurement
from paretune.stats.pooling import interval, pool, spreads_of
from paretune.stats.process_spread import (
    MIN_COUNT,
    Spread,
    digamma,
    inverse_trigamma,
    learnt,
    trigamma,
)


def test_the_functions_are_what_they_are_called() -> None:
    assert digamma(1.0) == pytest.approx(-0.5772156649, abs=1e-9)
    assert trigamma(1.0) == pytest.approx(math.pi**2 / 6, abs=1e-9)
    assert trigamma(0.5) == pytest.approx(math.pi**2 / 2, abs=1e-9)


@given(st.floats(1e-3, 1e3))
def test_the_inverse_is_one(x: float) -> None:
    assert inverse_trigamma(trigamma(x)) == pytest.approx(x, rel=1e-6)


def _processes(draw: random.Random, sigma: float, spells: bool) -> list[float]:
    slow = [1.2 if spells and draw.random() < 0.15 else 1.0 for _ in range(3)]
    return [10 * s * draw.lognormvariate(0, sigma) for s in slow]


@pytest.mark.parametrize("spells", [False, True])
@pytest.mark.parametrize("uneven", [0.0, 0.5])
def test_the_interval_covers_and_is_narrower(uneven: float, spells: bool) -> None:
    """Candidates' processes differ by 3 %, or by more and less; slow spells of 20 % hit 15 %."""
    draw = random.Random(f"spread {uneven} {spells}")
    inside = tries = 0
    wide, narrow = [], []
    for _ in range(60):
        sigmas = [0.03 * draw.lognormvariate(0, uneven) for _ in range(20)]
        study = [_processes(draw, sigma, spells) for sigma in sigmas]
        spread = learnt(study)
        for sigma, values in zip(sigmas, study, strict=True):
            truth = statistics.median(_processes(draw, sigma, spells)[0] for _ in range(99))
            truth = truth if spells else 10.0
            low, high = interval(values, None, spread)
            plain = interval(values, None)
            assert None not in (low, high, *plain)
            inside += low <= truth <= high  # type: ignore[operator]
            tries += 1
            narrow.append(high / low)  # type: ignore[operator]
            wide.append(plain[1] / plain[0])  # type: ignore[operator]
    assert inside / tries >= 0.93
    assert statistics.median(narrow) - 1 < 0.85 * (statistics.median(wide) - 1)
    assert statistics.quantiles(narrow, n=10)[-1] < statistics.quantiles(wide, n=10)[-1]


def test_few_candidates_teach_nothing() -> None:
    assert learnt([[10.0, 11.0, 12.0]] * (MIN_COUNT - 1)) is None
    assert learnt([[10.0, 11.0, 12.0]] * MIN_COUNT) is not None
    assert learnt([[10.0]] * 50) is None
    assert learnt([[0.0, 1.0, 2.0]] * 50) is None


@given(st.lists(st.lists(st.floats(0.1, 1e3), min_size=1, max_size=6), max_size=12))
def test_whatever_was_measured_it_is_finite(groups: list[list[float]]) -> None:
    spread = learnt(groups)
    if spread is not None:
        assert 0 < spread.variance < math.inf
        assert 0 <= spread.freedom <= 10


def test_a_study_that_does_not_agree_leaves_an_interval_as_it_is() -> None:
    values = [10.0, 10.4, 10.9]
    nothing = Spread(1.0, 1e-6, 20)
    assert interval(values, None, nothing) == pytest.approx(interval(values, None), rel=1e-3)


def test_the_study_s_spread_is_that_of_its_own_processes() -> None:
    """Rounds of the finals are of another hour; what is in no process has no spread."""

    def measured(shift: float) -> dict[str, Measurement]:
        processes = [{"n": 1, "value": v + shift, "round": None} for v in (10.0, 10.1, 9.9)]
        processes += [{"n": 1, "value": 99.0, "round": 1}]
        m = Measurement("decode_ms_p50", 10.0, "ms", details={"processes": processes})
        return {"decode_ms_p50": m, "accuracy": Measurement("accuracy", 0.5, "fraction")}

    (found,) = spreads_of([measured(i / 10) for i in range(6)]).items()
    assert found[0] == "decode_ms_p50"
    assert math.sqrt(found[1].variance) == pytest.approx(0.01, rel=0.1)
    block = measured(0.0)
    again = pool([{"decode_ms_p50": block["decode_ms_p50"]}], None, None, dict([found]))
    assert again["decode_ms_p50"].details["spread"] == {"from": 6}
