"""A p95 of several processes: their speeds apart from the shape that they share."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.measurement import Measurement
from paretune.stats.intervals import percentile
from paretune.stats.pooling import pool, processes_of
from paretune.stats.tails import own_needed

P50, P95 = "decode_ms_p50", "decode_ms_p95"


def block(samples: list[float], **details: object) -> dict[str, Measurement]:
    middle = statistics.median(samples)
    return {
        P50: Measurement(
            P50, middle, "ms", middle, middle, len(samples), "x", tuple(samples), details=details
        ),
        P95: Measurement(P95, None, "ms", reason="too few"),
    }


def _samples(draw: random.Random, n: int, tail: float = 0.08) -> list[float]:
    return [10 * draw.lognormvariate(0, 0.02) * (1 + draw.expovariate(1 / tail)) for _ in range(n)]


def test_so_many_samples_reach_beyond_a_process_s_own_percentile() -> None:
    assert own_needed(0.95) == 59
    for share in (0.9, 0.95, 0.99):
        n = own_needed(share)
        assert share**n <= 0.05 < share ** (n - 1)


def test_one_process_has_the_percentile_of_its_samples() -> None:
    samples = _samples(random.Random(1), 300)
    found, plain = pool([block(samples)])[P95], percentile(samples, 0.95)
    assert plain is not None
    assert (found.value, found.low, found.high) == pytest.approx(plain)


@given(st.lists(st.floats(0.5, 2.0), min_size=2, max_size=6), st.integers(0, 99))
def test_how_fast_processes_are_does_not_change_the_shape_of_the_tail(
    speeds: list[float], seed: int
) -> None:
    draw = random.Random(seed)
    one = _samples(draw, 150)
    found = pool([block([s * speed for s in one]) for speed in speeds])[P95]
    plain = percentile(one, 0.95)
    assert plain is not None
    assert found.value == pytest.approx(plain[0] * statistics.median(speeds), rel=1e-2)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize(("processes", "spells"), [(3, False), (5, False), (5, True)])
def test_the_interval_covers_a_typical_process_s_percentile(processes: int, spells: bool) -> None:
    draw = random.Random(f"p95 {processes} {spells}")
    truth = 10 * statistics.quantiles([s / 10 for s in _samples(draw, 100_000)], n=20)[-1]
    if spells:  # the median of all processes' speeds, 15 % of them slowed by a fifth
        speeds = [_speed(draw, spells) for _ in range(50_000)]
        truth *= statistics.median(speeds)
    inside = given_at_all = 0
    tries = 300
    for _ in range(tries):
        blocks = [
            block([_speed_of * s for s in _samples(draw, 100)])
            for _speed_of in (_speed(draw, spells) for _ in range(processes))
        ]
        m = pool(blocks)[P95]
        if m.low is not None and m.high is not None:
            given_at_all += 1
            inside += m.low <= truth <= m.high
    assert given_at_all == tries
    assert inside >= 0.93 * tries


def _speed(draw: random.Random, spells: bool) -> float:
    return draw.lognormvariate(0, 0.03) * (1.2 if spells and draw.random() < 0.15 else 1.0)


def test_processes_of_a_few_samples_have_no_interval_and_too_few_no_value() -> None:
    draw = random.Random(3)
    few = [block(_samples(draw, 40)) for _ in range(5)]
    m = pool(few)[P95]
    assert m.value is not None
    assert (m.low, m.high) == (None, None)
    assert "59 samples" in str(m.reason)
    assert pool(few[:3])[P95].value is None
    assert "120 of the 130" in str(pool(few[:3])[P95].reason)


def test_what_is_said_of_a_percentile_goes_by_processes_too() -> None:
    """So that rounds can tell on which side of a limit it lies, and disturbed ones do not count."""
    draw = random.Random(4)
    busy = {"interference": {"others": 0.5, "stolen": 0.0}}
    blocks = [block(_samples(draw, 100)) for _ in range(3)]
    blocks.append(block([3 * s for s in _samples(draw, 100)], **busy))
    m = pool(blocks, rounds=[None, None, 1, 2])[P95]
    told = processes_of(m)
    assert [p.round for p in told] == [None, None, 1, 2]
    assert all(p.value > 11 for p in told)
    assert m.value == pytest.approx(statistics.median(p.value for p in told[:3]), rel=0.1)
    assert m.n == 300
    steps = pool([pool(blocks[:2]), *blocks[2:]], rounds=[None, 1, 2])[P95]
    assert (steps.value, steps.low, steps.high) == (m.value, m.low, m.high)
