"""The sampling loop keeps its floors; outliers, drift and what a sample can carry have laws."""

from __future__ import annotations

import gc
import itertools
import math
import random
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.details import Details
from paretune.core.measurement import Rung
from paretune.evaluators.generation.timing import (
    TURNS,
    Effort,
    classify,
    drift,
    effort_of,
    median_of,
    percentile_of,
    quiet_collector,
    sample,
    sample_in_turns,
    sample_together,
)

VALUES = st.lists(st.floats(0.01, 1e3), min_size=2, max_size=60)


def counting(pause: float = 0.0) -> tuple[list[int], object]:
    calls: list[int] = []

    def once() -> int:
        time.sleep(pause)
        calls.append(len(calls))
        return calls[-1]

    return calls, once


@pytest.mark.parametrize(
    "effort",
    [
        Effort(3, 0.0, 5, 0.0, 10.0),  # by count
        Effort(1, 0.02, 1, 0.03, 10.0),  # by time
        Effort(0, 0.0, 1, 0.0, 10.0),  # without warm-up
    ],
)
def test_floors_on_count_and_time_are_both_kept(effort: Effort) -> None:
    calls, once = counting(0.001)
    run = sample(once, effort)  # type: ignore[arg-type]
    assert (*run.warm_up, *run.kept) == tuple(calls) == tuple(range(len(calls)))
    assert len(run.warm_up) >= effort.warm_up_count
    assert run.warm_up_s >= effort.warm_up_s
    assert len(run.kept) >= effort.samples
    assert run.seconds >= effort.seconds
    assert run.cut_off == 0


def test_time_that_is_up_ends_it_whatever_the_floors_say() -> None:
    _, once = counting(0.02)
    run = sample(once, Effort(1000, 1000.0, 1000, 1000.0, 0.05))  # type: ignore[arg-type]
    assert 1 <= len(run.warm_up) < 1000
    assert 1 <= len(run.kept) < 1000


def test_a_block_is_short_and_warm_and_of_two_samples_at_least() -> None:
    for rung, seconds in itertools.product(Rung, (0.0, 0.7)):
        block = effort_of(rung, seconds)
        assert (block.warm_up_count, block.samples, block.seconds) == (1, 2, seconds)
        assert block.warm_up_s <= seconds / 5
    costs = [effort_of(rung, None).seconds for rung in (Rung.SMOKE, Rung.ROUGH, Rung.FULL)]
    assert costs == sorted(costs)


def test_the_collector_is_quiet_while_something_is_timed() -> None:
    assert gc.isenabled()
    with quiet_collector():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert sample(gc.isenabled, Effort(1, 0.0, 2, 0.0, 1.0)).kept == (False, False)


def test_streams_run_together_until_all_have_enough() -> None:
    alive: set[int] = set()
    seen: list[int] = []

    def stream(number: int, pause: float) -> object:
        def once() -> int:
            alive.add(number)
            seen.append(len(alive))
            time.sleep(pause)
            return threading.get_ident()

        return once

    runs = sample_together(
        [stream(0, 0.001), stream(1, 0.01)],  # type: ignore[list-item]
        Effort(1, 0.0, 3, 0.0, 10.0),
    )
    assert [len(set(run.kept)) for run in runs] == [1, 1]
    assert runs[0].kept[0] != runs[1].kept[0]
    assert all(len(run.kept) >= 3 for run in runs)
    assert len(runs[0].kept) > len(runs[1].kept)  # the quick one went on under the other's load
    assert seen[-1] == 2


@pytest.mark.parametrize("at", [1, 4])
def test_an_error_in_one_stream_ends_all_and_is_told(at: int) -> None:
    calls = itertools.count(1)

    def breaks() -> None:
        time.sleep(0.001)
        if next(calls) == at:
            raise ZeroDivisionError("of its own")

    with pytest.raises(ZeroDivisionError, match="of its own"):
        sample_together([breaks, lambda: time.sleep(0.001)], Effort(2, 0.0, 50, 0.0, 10.0))


def test_outliers_by_tukeys_fences() -> None:
    # Quartiles 2 and 4, a width of 2: fences at -1 and 7, outer ones at -4 and 10.
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert not classify(values).count
    spread = [*[2.0] * 50, *[4.0] * 50, 3.0]
    for value, kind in (
        (7.5, "mild_high"),
        (10.5, "severe_high"),
        (-1.5, "mild_low"),
        (-4.5, "severe_low"),
        (7.0, None),
        (-1.0, None),
    ):
        counts = classify([*spread, value])
        assert [name for name, n in asdict(counts).items() if n] == ([kind] if kind else [])


@given(VALUES, st.floats(0.1, 10), st.randoms())
def test_outliers_do_not_depend_on_order_or_unit(
    values: list[float], scale: float, draw: random.Random
) -> None:
    counts = classify(values)
    assert 0 <= counts.count < len(values)
    shuffled = draw.sample(values, len(values))
    assert classify(shuffled) == counts
    mirrored = classify([-v for v in values])
    assert asdict(mirrored) == {
        f"{kind}_{other}": asdict(counts)[f"{kind}_{side}"]
        for kind in ("mild", "severe")
        for side, other in (("low", "high"), ("high", "low"))
    }
    doubled = classify([2 * v for v in values])  # exact in binary
    assert doubled == counts


def test_chance_is_seldom_called_drift_and_drift_is_found() -> None:
    draw, runs = random.Random(5), 600
    called = sum(
        drift([draw.lognormvariate(0, 0.3) for _ in range(41)]).drifts for _ in range(runs)
    )
    assert called <= runs * 0.01 + 3 * math.sqrt(runs * 0.01)
    slower = drift([draw.gauss(10, 0.2) * (1 + n / 400) for n in range(80)])
    assert slower.drifts
    assert slower.relative == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("values", [[], [1.0], [0.0, 0.0, 1.0]])
def test_too_little_for_a_drift(values: list[float]) -> None:
    assert drift(values).to_json() == {"relative": None, "p": 1.0, "drifts": False}


@given(VALUES)
def test_a_median_keeps_every_sample(values: list[float]) -> None:
    m = median_of("x_ms", values, "ms", Details(extra={"kept": 1}))
    assert (m.samples, m.n, m.protocol) == (tuple(values), len(values), "device-2")
    assert m.value == statistics.median(values)
    assert m.details == {"kept": 1, "outliers": classify(values).to_json()}
    if len(values) < 6:
        assert (m.low, m.high) == (None, None)
        assert m.reason is not None
    else:
        assert m.low is not None
        assert m.high is not None
        assert m.low <= m.value <= m.high
        assert m.reason is None


def test_what_a_percentile_lacks_is_said_in_plain_words() -> None:
    m = percentile_of("x_ms_p95", [1.0] * 20, 0.95, "ms")
    assert (m.value, m.n) == (None, 20)
    assert m.reason == (
        "too few samples: 20 of the 130 that the 95th percentile needs, so that with 99 % "
        "confidence two or more are among the largest 5 % of all there could be"
    )
    whole = percentile_of("x_ms_p95", [float(n) for n in range(130)], 0.95, "ms")
    assert whole.value == 123.0


class Free:
    """Turns with nobody else; notes when they begin."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.calls = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        self.begun.append(self.calls)
        yield

    def once(self) -> int:
        self.calls += 1
        time.sleep(0.002)
        return self.calls


@pytest.mark.parametrize("seconds", [0.0, 0.4])
def test_turns_part_the_samples_and_the_first_of_several_is_not_counted(seconds: float) -> None:
    free = Free()
    run = sample_in_turns(free.once, Effort(2, 0.0, 0, seconds, math.inf), free)
    assert len(run.warm_up) == 2 == free.begun[0]  # it warms up before its first turn
    assert len(run.turns) == len(free.begun) == TURNS
    # However long the machine takes for a call: a turn has one at least.
    calls = [[*range(a + 1, b + 1)] for a, b in itertools.pairwise([*free.begun, free.calls])]
    assert (max(map(len, calls)) > 1) is (seconds > 0)
    counted = [seen[1:] or seen for seen in calls]
    assert list(run.turns) == [len(seen) for seen in counted]
    assert list(run.kept) == [number for seen in counted for number in seen]
