"""Choosing by models costs at most a share of the trials' time."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from paretune.core.candidate import Candidate, RuntimeSettings
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.search.surrogate.allowance import FEW, MANY, SHARE, Allowance, Effort

CANDIDATE = Candidate((), RuntimeSettings("cpu", 1))


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def result(seconds: float, asked_s: float | None = None) -> TrialResult:
    steps = (StepTime("genai", seconds, False),)
    return TrialResult(1, CANDIDATE, OutcomeKind.OK, seconds=steps, asked_s=asked_s)


def choose(allowance: Allowance, clock: Clock, effort: Effort, seconds: float) -> None:
    with allowance.choosing(effort, clock):
        clock.now += seconds


def test_trials_earn_a_share_of_their_seconds() -> None:
    clock, allowance = Clock(), Allowance()
    for effort in (Effort.FEW, Effort.NO_FIT, Effort.ALL):
        choose(allowance, clock, effort, 1.0)
    allowance.ended(result(3.9 / SHARE))
    assert allowance.payable is Effort.NONE
    allowance.ended(result(0.2 / SHARE))
    assert allowance.payable is Effort.ALL


def test_the_most_is_done_that_what_is_left_pays_for() -> None:
    clock, allowance = Clock(), Allowance()
    took = {Effort.FEW: 0.1, Effort.NO_FIT: 0.5, Effort.ALL: 2.0}
    for effort, seconds in took.items():
        choose(allowance, clock, effort, seconds)
    allowance.ended(result(sum(took.values()) / SHARE))
    for least, effort in ((0.05, Effort.NONE), (0.2, Effort.FEW), (0.6, Effort.NO_FIT)):
        allowance.ended(result(least / SHARE))
        assert allowance.payable is effort
        choose(allowance, clock, effort or Effort.FEW, least)


def test_with_little_effort_fewer_candidates_are_compared() -> None:
    clock, pool, allowance = Clock(), list(range(1000)), Allowance()
    with allowance.choosing(Effort.NO_FIT, clock):
        assert allowance.thinned(pool, random.Random(0)) is pool
    with allowance.choosing(Effort.FEW, clock):
        few = allowance.thinned(pool, random.Random(0))
        assert allowance.thinned(pool[:FEW], random.Random(0)) == pool[:FEW]
    assert len(few) == FEW
    assert list(few) == sorted(set(few))


def test_what_an_earlier_run_spent_is_spent() -> None:
    clock, allowance = Clock(), Allowance()
    allowance.ended(result(0.0, asked_s=1.0))
    assert allowance.payable is Effort.NONE
    allowance = Allowance()
    choose(allowance, clock, Effort.ALL, 0.0)
    allowance.ended(result(0.0, asked_s=1.0))  # counted when it was spent
    assert allowance.payable is Effort.ALL


def test_a_choice_that_fails_was_waited_for_too() -> None:
    clock, allowance = Clock(), Allowance()
    with suppress(KeyError), allowance.choosing(Effort.ALL, clock):
        clock.now += 1.0
        raise KeyError
    assert allowance.payable is Effort.NONE


def test_what_is_started_is_not_counted() -> None:
    clock, allowance = Clock(), Allowance()
    with allowance.choosing(Effort.ALL, clock):
        with allowance.starting(clock):
            clock.now += 5.0
        clock.now += 1.0
    allowance.ended(result(2.0 / SHARE))
    assert allowance.payable is Effort.ALL


@given(st.lists(st.tuples(st.floats(0.0, 100.0), *[st.floats(0.0, 5.0)] * 3), max_size=200))
def test_over_a_study_only_one_choice_goes_beyond_it(
    trials: list[tuple[float, float, float, float]],
) -> None:
    """However the seconds of choices vary, the one that goes beyond is paid before the next."""
    clock, allowance = Clock(), Allowance()
    earned = longest = 0.0
    for seconds, *took in trials:
        effort = allowance.payable
        if effort is not Effort.NONE:
            choose(allowance, clock, effort, took[effort - 1])
            longest = max(longest, took[effort - 1])
        assert clock.now <= earned + longest + 1e-6
        allowance.ended(result(seconds))
        earned += SHARE * seconds


def test_after_many_trials_few_candidates_are_compared_however_long_they_are() -> None:
    clock, allowance = Clock(), Allowance()
    pool, draw = list(range(5 * FEW)), random.Random(0)
    for _ in range(MANY):
        allowance.ended(result(1e6))
    choose(allowance, clock, Effort.ALL, 0.0)
    assert not allowance.compares_few
    assert allowance.thinned(pool, draw) == pool
    allowance.ended(result(1e6))
    assert allowance.compares_few
    few = allowance.thinned(pool, draw)
    assert len(few) == FEW
    assert few == sorted(few)
    assert allowance.payable is Effort.ALL  # hyperparameters are fitted still
