"""Several processes make one measurement, and the process is its unit."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.conditions import Conditions
from paretune.core.details import CpuTaken, ProcessValue
from paretune.core.measurement import Measurement
from paretune.stats.pooling import interval, log_ratio, pool, processes_of

POSITIVE = st.floats(0.01, 1e4)


def _block(values: list[float], name: str = "decode_ms_p50") -> dict[str, Measurement]:
    middle = statistics.median(values)
    low, high = min(values), max(values)
    return {name: Measurement(name, middle, "ms", low, high, len(values), "x", tuple(values))}


@given(st.lists(st.lists(POSITIVE, min_size=1, max_size=9), min_size=1, max_size=6))
def test_nothing_is_lost_and_the_value_lies_within(blocks: list[list[float]]) -> None:
    pooled = pool([_block(b) for b in blocks])["decode_ms_p50"]
    assert list(pooled.samples) == [value for block in blocks for value in block]
    assert pooled.value == statistics.median(statistics.median(b) for b in blocks)
    assert pooled.low is not None
    assert pooled.high is not None
    assert pooled.low <= pooled.value <= pooled.high
    assert [p.n for p in processes_of(pooled)] == [len(b) for b in blocks]
    assert Measurement.from_json(pooled.to_json()) == pooled


@given(st.lists(st.lists(POSITIVE, min_size=1, max_size=5), min_size=2, max_size=6))
def test_pooling_in_steps_is_the_same_as_at_once(blocks: list[list[float]]) -> None:
    made = [_block(b) for b in blocks]
    together = pool(made, rounds=[None, *range(1, len(made))])
    steps = pool(made[:1])
    for number, block in enumerate(made[1:], start=1):
        steps = pool([steps, block], rounds=[None, number])
    assert steps == together
    rounds = [p.round for p in processes_of(steps["decode_ms_p50"])]
    assert rounds == [None, *range(1, len(made))]


def test_many_samples_of_few_processes_do_not_make_it_sure() -> None:
    """1000 samples each, all but equal; the processes differ by 10 %."""
    pooled = pool([_block([ms] * 1000) for ms in (10.0, 11.0, 12.0)])["decode_ms_p50"]
    assert pooled.n == 3000
    assert pooled.low is not None
    assert pooled.high is not None
    assert pooled.low < 9.0
    assert pooled.high > 13.0


def test_the_interval_covers() -> None:
    draw = random.Random(2)
    inside = 0
    for _ in range(1000):
        low, high = interval([math.exp(draw.gauss(0, 0.05)) for _ in range(3)], None)
        assert low is not None
        assert high is not None
        inside += low <= 1 <= high
    assert inside >= 930


def test_no_interval_is_narrower_than_the_devices_noise() -> None:
    same = [_block([10.0, 10.0]), _block([10.0, 10.0])]
    assert math.isclose(pool(same)["decode_ms_p50"].high or 0, 10.0)
    noisy = pool(same, floor=0.1)["decode_ms_p50"]
    assert noisy.high is not None
    assert math.isclose(noisy.high, 10 * (1 + 0.1 / math.sqrt(2)))
    alone = pool(same[:1], floor=0.1)["decode_ms_p50"]
    assert alone.high == noisy.high


def test_percentiles_come_from_all_samples() -> None:
    def block(start: int) -> dict[str, Measurement]:
        values = [float(start + i) for i in range(100)]
        none = Measurement("decode_ms_p95@64", None, "ms", reason="too few")
        return {**_block(values, "decode_ms_p50@64"), "decode_ms_p95@64": none}

    alone = pool(
        [
            {
                **_block([1.0, 2.0], "decode_ms_p50@64"),
                "decode_ms_p95@64": block(0)["decode_ms_p95@64"],
            }
        ]
    )
    assert alone["decode_ms_p95@64"].value is None
    assert "too few samples: 2 of the 130" in str(alone["decode_ms_p95@64"].reason)
    several = pool(
        [
            {
                **_block([1.0, 2.0], "decode_ms_p50@64"),
                "decode_ms_p95@64": block(0)["decode_ms_p95@64"],
            }
        ]
        * 3
    )
    assert "too few samples: 6 of the 130" in str(several["decode_ms_p95@64"].reason)
    pooled = pool([block(100), block(100)])
    assert pooled["decode_ms_p95@64"].value == pytest.approx(194.0)
    assert pooled["decode_ms_p95@64"].n == 200


def test_a_metric_that_a_process_lacks() -> None:
    lacks = {"x": Measurement("x", None, "ms", reason="none")}
    pooled = pool([lacks, {"x": Measurement("x", 2.0, "ms")}])["x"]
    assert pooled.value == 2.0
    assert pool([lacks, lacks])["x"].value is None


def test_what_one_process_alone_measures_keeps_its_interval() -> None:
    dear = Measurement("peak", 300.0, "MB", 290.0, 310.0, 5, "x", (300.0,), details={"at": 4096})
    left_out = Measurement("peak", None, "MB", reason="not measured in a block")
    for blocks in ([{"peak": dear}, {"peak": left_out}], [{"peak": left_out}, {"peak": dear}]):
        pooled = pool(blocks)["peak"]
        assert (pooled.value, pooled.low, pooled.high) == (300.0, 290.0, 310.0)
        assert pooled.details["at"] == 4096


def test_percentiles_at_a_context_come_from_all_samples_too() -> None:
    values = [float(i) for i in range(200)]
    suffix = "_context@512"
    tail = Measurement(f"decode_ms_p95{suffix}", 1.0, "ms")
    block = {**_block(values, f"decode_ms_p50{suffix}"), tail.metric: tail}
    assert pool([block, block])[f"decode_ms_p95{suffix}"].value == pytest.approx(189.0)


@given(st.lists(POSITIVE, min_size=1, max_size=8), st.floats(0.5, 2.0), st.data())
def test_what_hits_two_turns_alike_leaves_no_trace_in_their_ratio(
    moments: list[float], factor: float, data: st.DataObject
) -> None:
    a = [factor * moment for moment in moments]
    assert math.isclose(log_ratio(a, moments), math.log(factor), abs_tol=1e-9)
    b = data.draw(st.lists(POSITIVE, min_size=1, max_size=8))
    assert math.isclose(log_ratio(a, b), -log_ratio(b, a), abs_tol=1e-9)


def test_turns_are_kept_with_their_process() -> None:
    first = _block([1.0, 2.0])["decode_ms_p50"]
    block = replace(_block([3.0, 5.0])["decode_ms_p50"], details={"turns": [3.0, 5.0]})
    pooled = pool([{block.metric: first}, {block.metric: block}], rounds=[None, 1])[block.metric]
    assert processes_of(pooled) == [
        ProcessValue(n=2, value=1.5, round=None),
        ProcessValue(n=2, value=4.0, round=1, turns=(3.0, 5.0)),
    ]
    assert "turns" not in pool([{block.metric: block}])[block.metric].details


def test_a_round_that_others_disturbed_counts_in_no_value() -> None:
    """It does where there is nothing else; and it is noted all the same."""
    busy = CpuTaken(others=0.5, stolen=0.0)
    clean = _block([10.0])["decode_ms_p50"]
    slow = _block([30.0])["decode_ms_p50"].noting(interference=busy)
    blocks = [{m.metric: m} for m in (clean, clean, slow, slow, slow)]
    pooled = pool(blocks, rounds=[None, None, 1, 2, 3])["decode_ms_p50"]
    assert pooled.value == 10.0
    assert pooled.high is not None
    assert pooled.high < 11.0
    assert len(processes_of(pooled)) == 5
    assert "3 of 5 processes" in str(pooled.reason)
    alone = pool(blocks[2:], rounds=[1, 2, 3])["decode_ms_p50"]
    assert alone.value == 30.0
    # A process of the search's own that was hit twice is still what there is.
    own = pool(blocks[1:3], rounds=[None, None])["decode_ms_p50"]
    assert own.value == 20.0


def test_a_round_in_which_the_device_was_throttled_counts_in_no_value() -> None:
    """Its cause is in the reason, and the worst conditions are those of the whole."""
    hot = Conditions(800.0, 1800.0, 85.0, throttled=("board: throttled",))
    cool = Conditions(1800.0, 1800.0, 60.0)
    clean = _block([10.0])["decode_ms_p50"].noting(conditions=cool)
    slow = _block([30.0])["decode_ms_p50"].noting(conditions=hot)
    blocks = [{m.metric: m} for m in (clean, clean, slow)]
    pooled = pool(blocks, rounds=[None, None, 1])["decode_ms_p50"]
    assert pooled.value == 10.0
    assert pooled.details.conditions == hot
    assert [p.conditions for p in processes_of(pooled)] == [cool, cool, hot]
    assert pooled.reason == (
        "1 of 3 processes were measured while the device was throttled (board: throttled)"
    )
    busy = slow.noting(interference=CpuTaken(others=0.5, stolen=0.0))
    both = pool([{busy.metric: busy}, *blocks])["decode_ms_p50"].reason
    assert str(both).count(" of 4 processes were measured while ") == 2
    assert Measurement.from_json(pooled.to_json()) == pooled
