"""What costs more the longer a search goes on takes a small share of its time."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from paretune.core.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.floats(0.0, 30.0), st.floats(0.01, 5.0))
def test_it_is_done_at_once_and_then_for_a_fiftieth_of_the_time(cost: float, step: float) -> None:
    clock, spent, done = Clock(), 0.0, []
    pace = Pace(clock)
    for _ in range(400):
        if pace.due():
            done.append(clock.now)
            with pace:
                clock.now += cost
            spent += cost
        clock.now += step
    assert done[0] == 0.0
    assert spent - cost <= 0.02 * clock.now
    assert all(b - a >= 2.0 for a, b in itertools.pairwise(done))
    assert clock.now - done[-1] <= 52 * cost + 2.0 + 2 * step, "and not forgotten"
