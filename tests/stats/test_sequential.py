"""Confidence sequences for a median: their laws, and their error when they are looked at always."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.stats.sequential import (
    MedianSequence,
    Verdict,
    least_rounds,
    left_out,
    log_fortune,
    speed_verdict,
)

FLOATS = st.floats(-1e6, 1e6)


def _sequence(values: list[float], alpha: float = 0.01) -> MedianSequence:
    sequence = MedianSequence(alpha)
    for value in values:
        sequence.add(value)
    return sequence


def test_the_fortune_is_a_martingale() -> None:
    """What a fair coin does to it cancels out, at every state."""
    for above in range(6):
        for below in range(6):
            after = math.exp(log_fortune(above + 1, below)) + math.exp(
                log_fortune(above, below + 1)
            )
            assert math.isclose(after / 2, math.exp(log_fortune(above, below)), rel_tol=1e-12)
    assert math.isclose(math.exp(log_fortune(0, 0)), 1.0)


@pytest.mark.parametrize(("alpha", "rounds"), [(0.05, 7), (0.01, 10), (0.001, 13)])
def test_rounds_before_anything_can_be_said(alpha: float, rounds: int) -> None:
    assert least_rounds(alpha) == rounds
    assert left_out(rounds - 1, alpha) == -1
    all_the_same_side = _sequence([-1.0] * rounds, alpha)
    assert speed_verdict(all_the_same_side) is Verdict.FASTER


@given(st.lists(FLOATS, min_size=1, max_size=60))
def test_laws(values: list[float]) -> None:
    sequence = MedianSequence(0.05)
    previous = (-math.inf, math.inf)
    for value in values:
        sequence.add(value)
        assert sequence.low >= previous[0]  # it never widens
        assert sequence.high <= previous[1]
        previous = (sequence.low, sequence.high)
    mirrored = _sequence([-v for v in values], 0.05)
    assert (mirrored.low, mirrored.high) == (-sequence.high, -sequence.low)
    assert sequence.n == len(values)
    outside = left_out(len(values), 0.05)
    assert 2 * outside < len(values)


@given(st.lists(FLOATS, min_size=1, max_size=40), st.floats(0.001, 0.5))
def test_verdicts_mirror_each_other(values: list[float], margin: float) -> None:
    opposite = {Verdict.FASTER: Verdict.SLOWER, Verdict.SLOWER: Verdict.FASTER}
    one = speed_verdict(_sequence(values, 0.05), margin)
    other = speed_verdict(_sequence([-v for v in values], 0.05), margin)
    assert other is opposite.get(one, one)


def test_small_differences_are_the_same_and_sure_ones_are_not() -> None:
    draw = random.Random(3)
    near = _sequence([draw.gauss(0.005, 0.01) for _ in range(200)])
    far = _sequence([draw.gauss(0.05, 0.03) for _ in range(60)])
    assert speed_verdict(near, 0.02) is Verdict.SAME
    assert speed_verdict(far, 0.02) is Verdict.SLOWER
    assert speed_verdict(near, 0.001) is not Verdict.SAME


def test_a_median_that_changed_decides_nothing() -> None:
    sequence = _sequence([0.1] * 30 + [-0.1] * 200)
    assert sequence.broken
    assert speed_verdict(sequence) is Verdict.UNDECIDED


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        MedianSequence(0.01).add(math.nan)


@pytest.mark.parametrize("shape", ["normal", "cauchy", "skewed", "bursts"])
def test_it_misses_the_median_no_more_often_than_it_says_at_any_look(shape: str) -> None:
    """1000 runs of 150 looks each; the tolerance is three standard deviations of the count."""
    draw = random.Random(17)

    def observe() -> float:
        if shape == "cauchy":
            return math.tan(math.pi * (draw.random() - 0.5))
        if shape == "skewed":
            return draw.expovariate(1.0) - math.log(2)
        if shape == "bursts" and draw.random() < 0.1:
            return draw.choice([-30.0, 30.0])
        return draw.gauss(0, 1)

    alpha, runs, missed = 0.05, 1000, 0
    for _ in range(runs):
        sequence = MedianSequence(alpha)
        for _ in range(150):
            sequence.add(observe())
        missed += not sequence.low <= 0 <= sequence.high
    assert missed <= runs * alpha + 3 * math.sqrt(runs * alpha * (1 - alpha))
