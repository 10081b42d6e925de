"""The models of a search cost at most a share of the trials' time."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.candidate import Candidate, RuntimeSettings
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.search.surrogate.allowance import FEW, FREE_S, SHARE, Allowance

CANDIDATE = Candidate((), RuntimeSettings("cpu", 1))


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def result(seconds: float, asked_s: float | None = None) -> TrialResult:
    steps = (StepTime("genai", seconds, False),)
    return TrialResult(1, CANDIDATE, OutcomeKind.OK, seconds=steps, asked_s=asked_s)


def spend(allowance: Allowance, clock: Clock, seconds: float) -> None:
    with allowance.spending():
        clock.now += seconds


def test_trials_earn_a_share_of_their_seconds() -> None:
    clock = Clock()
    allowance = Allowance(clock)
    spend(allowance, clock, FREE_S)
    assert allowance.fits
    spend(allowance, clock, 1.0)
    assert not allowance.fits
    allowance.ended(result(1.01 / SHARE))
    assert allowance.allowed_s == pytest.approx(FREE_S + 1.01)
    assert allowance.fits


def test_far_beyond_it_fewer_candidates_are_compared() -> None:
    clock, pool = Clock(), list(range(1000))
    allowance = Allowance(clock)
    spend(allowance, clock, 2 * FREE_S)
    assert not allowance.fits
    assert allowance.thinned(pool, random.Random(0)) is pool
    spend(allowance, clock, 0.1)
    few = allowance.thinned(pool, random.Random(0))
    assert len(few) == FEW
    assert list(few) == sorted(set(few))
    assert allowance.thinned(pool[:FEW], random.Random(0)) == pool[:FEW]


def test_what_an_earlier_run_spent_is_spent() -> None:
    clock = Clock()
    allowance = Allowance(clock)
    allowance.ended(result(0.0, asked_s=FREE_S + 1.0))
    assert not allowance.fits
    allowance = Allowance(clock)
    spend(allowance, clock, 1.0)
    allowance.ended(result(0.0, asked_s=FREE_S + 1.0))  # counted when it was spent
    assert allowance.fits


def test_an_answer_that_fails_was_waited_for_too() -> None:
    clock = Clock()
    allowance = Allowance(clock)
    with suppress(KeyError), allowance.spending():
        clock.now += FREE_S + 1.0
        raise KeyError
    assert not allowance.fits


@given(
    st.lists(
        st.tuples(st.floats(0.0, 100.0), st.floats(0.0, 5.0), st.floats(0.0, 1.0)), max_size=200
    )
)
def test_over_a_study_only_one_answer_goes_beyond_it(
    trials: list[tuple[float, float, float]],
) -> None:
    """Fits that are skipped cost nothing here, so the bound is exact."""
    clock = Clock()
    allowance = Allowance(clock)
    spent = longest = 0.0
    for seconds, fit, posterior in trials:
        cost = fit if allowance.fits else posterior if allowance.compares_all else 0.0
        spend(allowance, clock, cost)
        spent, longest = spent + cost, max(longest, cost)
        allowance.ended(result(seconds))
    earned = SHARE * sum(seconds for seconds, _, _ in trials)
    assert spent <= 2 * (FREE_S + earned) + longest + 1e-6
