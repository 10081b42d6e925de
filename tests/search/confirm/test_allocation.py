"""The rounds go to the challengers that may be better than the pick."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path

import pytest
from fake_search import IN_TURNS, OBJECTIVES, NoisyTarget, make_engine, noop

from paretune.core.details import Details, ProcessValue
from paretune.core.measurement import Measurement
from paretune.search.confirm.allocation import Challenger, chosen, open_challengers
from paretune.search.confirm.levels import levels_of
from paretune.search.confirm.topk import TopK
from paretune.stats.paired import pair_alpha, rounds_of
from paretune.stats.sequential import MedianSequence

SPEED = OBJECTIVES[1:]


def in_rounds(values: dict[int, float]) -> dict[str, Measurement]:
    processes = tuple(ProcessValue(9, ms, number) for number, ms in values.items())
    return {
        "decode_ms_p50": Measurement(
            "decode_ms_p50", 10.0, "ms", 9.0, 11.0, 9, details=Details(processes=processes)
        )
    }


def test_who_is_decided_is_no_challenger_and_the_nearest_is_least_sure() -> None:
    draw = random.Random(0)
    noise = [draw.lognormvariate(0, 0.02) for _ in range(14)]
    measured = {
        id: in_rounds({n: ms * each ** (id % 3) for n, each in enumerate(noise, start=1)})
        for id, ms in ((1, 10.0), (2, 10.1), (3, 10.2), (4, 20.0))
    }
    found = open_challengers(1, [2, 3, 4], measured, SPEED, pair_alpha(4, 1))
    assert [challenger.id for challenger in found] == [2, 3]
    assert found[0].errors_apart < found[1].errors_apart
    few = {id: in_rounds({1: 10.0, 2: 10.0}) for id in (1, 2)}
    assert open_challengers(1, [2], few, SPEED, 0.01) == [Challenger(2, 0.0)]


def test_the_least_sure_run_and_those_that_are_not_much_surer() -> None:
    assert chosen([Challenger(2, 1.0), Challenger(3, 2.5), Challenger(4, 1.9)]) == [2, 4]
    assert chosen([Challenger(2, 0.0), Challenger(3, 0.5), Challenger(4, 0.0)]) == [2, 4]
    assert chosen([Challenger(2, math.inf)]) == [2]


def test_a_round_s_level_is_that_of_the_one_that_is_known_best() -> None:
    known = {1: in_rounds(dict.fromkeys(range(1, 9), 10.0)), 2: in_rounds({1: 10.0})}
    found = {
        id: {"decode_ms_p50": Measurement("decode_ms_p50", ms, "ms")}
        for id, ms in ((1, 12.5), (2, 10.0))
    }
    assert levels_of(found, known) == {"decode_ms_p50": pytest.approx(0.8)}


def test_rounds_end_for_who_is_decided_and_go_on_for_who_is_not(tmp_path: Path) -> None:
    three = [
        noop(x=1, ms=10.0, quality=0.9),
        noop(x=2, ms=10.05, quality=0.905),
        noop(x=3, ms=11.0, quality=0.902),
    ]
    now = [0.0]

    class Timed(NoisyTarget):
        def _value(self, job: object, params: dict[str, object]) -> object:
            now[0] += 1.0
            return super()._value(job, params)  # type: ignore[arg-type]

    engine = make_engine(tmp_path, three, clock=lambda: now[0])
    engine.target, engine.evaluators = Timed(noise=0.02), IN_TURNS
    engine.run()
    finals = TopK(engine)
    assert set(finals.finalists()) == {1, 2, 3}
    engine.finals_s = 120.0
    finals.run()
    rounds = {o.id: set(rounds_of(o.measurements or {}, "decode_ms_p50")) for o in _ok(engine)}
    assert len(rounds[3]) < min(len(rounds[1]), len(rounds[2]))
    counted = Counter(number for numbers in rounds.values() for number in numbers)
    assert sorted(counted) == list(range(1, len(counted) + 1))
    assert min(counted.values()) == 2, "the pick and a challenger"
    assert max(counted.values()) == 3


def _ok(engine: object) -> list[object]:
    return engine.recorder.outcomes  # type: ignore[attr-defined,no-any-return]


def test_bounds_hold_where_the_pair_runs_only_after_rounds_that_favour_one() -> None:
    """A pair is run on as long as its last ratio was high: its bounds miss as rarely."""
    draw, missed, alpha = random.Random(3), 0, 0.1
    for _ in range(300):
        sequence, last = MedianSequence(alpha), 0.0
        for _ in range(60):
            if last > 0.5 and draw.random() < 0.8:  # past-dependent: it sits out
                last = 0.0
                continue
            last = draw.gauss(0, 1)
            sequence.add(last)
        missed += not sequence.low <= 0 <= sequence.high
    assert missed <= 0.1 * 300
