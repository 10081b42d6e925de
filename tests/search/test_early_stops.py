"""A candidate is stopped early by evidence that holds, and by nothing else."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_search import FakeTarget, make_engine, measures, noop
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.job import Job
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.constraints import Objective, parse_constraint
from paretune.search.evidence import ROUGH_SLACK, relied_on
from paretune.search.jobs import EvaluatorSlot
from paretune.search.possible_dominators import PossibleDominators
from paretune.search.pruning import dominated
from paretune.search.reconsider import to_reconsider
from paretune.search.summary import resolve, summarize
from paretune.stats.pooling import processes_of

SPEED = MetricSpec("decode_ms_p50", "ms", "minimize", True)
PERPLEXITY = MetricSpec("perplexity", "", "minimize", False)


class Spells(FakeTarget):
    """Its processes are slow now and then; `slow` says which of candidate 2's are."""

    def __init__(self, slow: tuple[bool, ...]) -> None:
        super().__init__()
        self.slow = iter(slow)

    def _value(self, job: Job, params: dict[str, Any]) -> Any:
        value = super()._value(job, params)
        if measures(job, "generation") and params["x"] == 2:
            factor = 1.2 if next(self.slow, False) else 1.0
            ends = {end: getattr(value[0], end) * factor for end in ("value", "low", "high")}
            value[0] = replace(value[0], **ends)
        return value


def _searched(tmp_path: Path, ms: float, slow: tuple[bool, ...], floor: float = 0.05) -> Any:
    engine = make_engine(
        tmp_path,
        [noop(x=1, ms=9.0), noop(x=2, ms=ms)],
        ("decode_ms_p50 <= 10",),
        noise_floor=floor,
    )
    engine.target = Spells(slow)
    engine.run()
    return engine


def test_one_slow_process_stops_nobody(tmp_path: Path) -> None:
    """10 % inside its limit, and 20 % slower for a moment: looked at again, it is fast."""
    engine = _searched(tmp_path, 9.2, (True,))
    second = engine.recorder.outcomes[1]
    assert second.kind is OutcomeKind.OK, second.reason
    assert 2 in engine.summary().feasible
    assert engine.target.jobs.count("generation:rough") == 3  # the baseline's, and two


def test_who_is_slow_in_three_processes_is_stopped_before_dear_measurements(tmp_path: Path) -> None:
    engine = _searched(tmp_path, 13.0, ())
    second = engine.recorder.outcomes[1]
    assert (second.kind, second.rung) == (OutcomeKind.INFEASIBLE, Rung.ROUGH)
    measured = (second.measurements or {})["decode_ms_p50"]
    assert len(processes_of(measured)) == 3
    assert engine.target.jobs[-4:] == [
        "generation:rough",
        "classification:rough",
        "generation:rough",
        "generation:rough",
    ]


def test_the_same_is_true_of_who_seems_to_be_beaten(tmp_path: Path) -> None:
    pair = [noop(x=1, ms=10.0, quality=0.9), noop(x=2, ms=9.9, quality=0.7)]
    engine = make_engine(tmp_path, pair, noise_floor=0.05)
    engine.target = Spells((True,))
    assert engine.run().front == (1, 2)
    engine = make_engine(tmp_path, [pair[0], noop(x=2, ms=13.0, quality=0.7)], noise_floor=0.05)
    engine.run()
    assert engine.recorder.outcomes[1].kind is OutcomeKind.PRUNED


def test_what_a_study_stopped_after_one_look_is_opened_again(tmp_path: Path) -> None:
    engine = _searched(tmp_path, 13.0, ())
    base, stopped = engine.recorder.outcomes
    summary = engine.summary()
    specs = [spec for slot in engine.evaluators for spec in slot.metrics]
    assert (
        to_reconsider([base, stopped], summary, engine.objectives, specs, base.measurements) == []
    )
    one = Measurement("decode_ms_p50", 13.0, "ms", 12.9, 13.1, 10, "fake-1")
    before = replace(stopped, measurements={"decode_ms_p50": one})  # of an earlier version
    assert to_reconsider([base, before], summary, engine.objectives, specs, base.measurements) == [
        before
    ]


@pytest.mark.parametrize("protocol", ["windows-1", "bootstrap-1", "custom-1", "anything"])
def test_an_interval_of_a_few_examples_stops_nobody(protocol: str) -> None:
    """It says how the value varies from sample to sample, if they are one; not what all give."""
    few = Measurement(
        "perplexity", 40.0, "", 39.0, 41.0, 3, protocol, (1.0, 1.1, 1.2), details={"early": True}
    )
    limit = parse_constraint("perplexity <= 12").resolve({})
    assert limit is not None
    assert limit.surely_broken(few)
    assert not limit.surely_broken(relied_on(few, PERPLEXITY, reference=few))
    last = replace(few, details={})
    assert limit.surely_broken(relied_on(last, PERPLEXITY, reference=few))


def test_what_is_exact_or_bounded_by_its_evaluator_counts_at_once() -> None:
    limit = parse_constraint("size <= 100").resolve({})
    assert limit is not None
    size = Measurement("size", 120.0, "MB", 120.0, 120.0, 1, "exact-1", details={"early": True})
    assert limit.surely_broken(relied_on(size, None))
    told = Measurement(
        "size", 120.0, "MB", 1.0, 500.0, 1, "mine-1", details={"early": True, "final": [110, 130]}
    )
    assert limit.surely_broken(relied_on(told, None))
    assert not limit.surely_broken(relied_on(replace(told, details={"early": True}), None))


@given(st.lists(st.floats(1.0, 100.0), min_size=1, max_size=6), st.floats(1.0, 100.0))
def test_no_process_speaks_against_a_stop(values: list[float], at: float) -> None:
    processes = [{"n": 1, "value": v, "round": None} for v in values]
    m = Measurement(
        "decode_ms_p50",
        values[0],
        "ms",
        values[0],
        values[0],
        9,
        "device-2",
        details={"processes": processes, "early": True},
    )
    limit = parse_constraint(f"decode_ms_p50 <= {at!r}").resolve({})
    assert limit is not None
    if limit.surely_broken(relied_on(m, SPEED)):
        assert len(values) >= 3
        assert min(values) * (1 - ROUGH_SLACK) > at * (1 - 1e-9)


def test_macro_f1_and_a_copy_of_the_baseline(tmp_path: Path) -> None:
    """The rough look of a copy is far off; it is looked at to its end, and feasible."""

    class Unlucky(FakeTarget):
        def _value(self, job: Job, params: dict[str, Any]) -> Any:
            value = super()._value(job, params)
            if measures(job, "classification"):
                rough = job.task.rung is Rung.ROUGH and params["x"] == 2
                score = 0.4 if rough else 0.8
                value.append(
                    Measurement(
                        "macro_f1", score, "fraction", score - 0.1, score + 0.1, 48, "bootstrap-1"
                    )
                )
            return value

    engine = make_engine(tmp_path, [noop(x=1), noop(x=2, ms=9.0)], ("macro_f1 >= baseline - 0.05",))
    engine.target = Unlucky()
    extra = MetricSpec("macro_f1", "fraction", "maximize", False)
    engine.evaluators = [
        replace(slot, metrics=(*slot.metrics, extra)) if slot.name == "classification" else slot
        for slot in engine.evaluators
    ]
    engine.run()
    assert [o.kind for o in engine.recorder.outcomes] == [OutcomeKind.OK, OutcomeKind.OK]
    assert 2 in engine.summary().feasible


# --- a failed baseline -----------------------------------------------------------------------


def test_a_baseline_that_did_not_come_to_its_end_sets_no_limits() -> None:
    rough = {
        "accuracy": Measurement("accuracy", 0.5, "fraction", 0.4, 0.6, 48, "wilson-1"),
        "size_mb": Measurement("size_mb", 90.0, "MB", 90.0, 90.0, 1, "exact-1"),
    }
    texts = ("accuracy >= baseline - 0.02", "size_mb <= baseline * 0.5", "accuracy >= 0.3")
    constraints = tuple(map(parse_constraint, texts))
    for kind in OutcomeKind:
        base = TrialResult(1, noop(x=1), kind, measurements=rough)
        limits, unresolved = resolve(constraints, base)
        if kind is OutcomeKind.OK:
            assert unresolved == ()
        else:
            assert [c.text for c in unresolved] == [texts[0]]
            assert {limit.text: limit.value for limit in limits} == {texts[1]: 45.0, texts[2]: 0.3}


# --- the nearest miss ------------------------------------------------------------------------


def test_who_was_stopped_early_is_the_nearest_miss_if_it_is_nearest() -> None:
    def sized(id: int, mb: float, kind: OutcomeKind) -> TrialResult:
        measured = {"size_mb": Measurement("size_mb", mb, "MB", mb, mb, 1, "exact-1")}
        if kind is OutcomeKind.OK:
            measured["accuracy"] = Measurement("accuracy", 0.9, "fraction", 0.8, 1.0, 9)
        return TrialResult(id, noop(x=id), kind, measurements=measured)

    limits = tuple(map(parse_constraint, ("size_mb <= 100", "accuracy >= 0.5")))
    outcomes = [
        sized(1, 544.0, OutcomeKind.OK),
        sized(2, 101.0, OutcomeKind.INFEASIBLE),
        sized(3, 100.4, OutcomeKind.INFEASIBLE),
        sized(4, 160.0, OutcomeKind.INFEASIBLE),
        sized(5, 100.1, OutcomeKind.CRASHED),
    ]
    summary = summarize(outcomes, (Objective("accuracy", "maximize"),), limits, outcomes[0])
    assert summary.nearest_miss == {
        "id": 3,
        "constraint": "size_mb <= 100",
        "value": 100.4,
        "limit": 100.0,
    }


# --- rivals ----------------------------------------------------------------------------------

POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12)
BOTH = (Objective("accuracy", "maximize"), Objective("decode_ms_p50", "minimize"))


def _point(id: int, point: tuple[int, int]) -> TrialResult:
    a, b = map(float, point)
    measured = {
        "accuracy": Measurement("accuracy", a, "fraction", a, a, 9, "x"),
        "decode_ms_p50": Measurement("decode_ms_p50", b, "ms", b - 0.5, b + 0.5, 9, "x"),
    }
    return TrialResult(id, noop(x=id), OutcomeKind.OK, measurements=measured)


@given(POINTS, st.tuples(st.integers(0, 5), st.integers(0, 5)), st.randoms())
def test_whoever_is_beaten_by_one_of_all_is_beaten_by_one_of_the_rivals(
    points: list[tuple[int, int]], asked: tuple[int, int], order: random.Random
) -> None:
    outcomes = {id: _point(id, point) for id, point in enumerate(points, start=1)}
    mine = _point(99, asked).measurements or {}
    whole = {id: o.measurements or {} for id, o in outcomes.items()}
    rivals = PossibleDominators(BOTH, (SPEED,))
    ids = list(outcomes)
    order.shuffle(ids)
    found: dict[int, Any] = {}
    for count in range(len(ids) + 1):  # one by one, as a search comes to know them
        found = rivals.among({id: outcomes[id] for id in ids[:count]}, None)
    assert (dominated(mine, found, BOTH) is None) == (dominated(mine, whole, BOTH) is None)
    if ids:  # one of them is measured on, or not feasible any more
        gone = {id: outcomes[id] for id in ids[1:]}
        again = rivals.among(gone, None)
        fresh = PossibleDominators(BOTH, (SPEED,)).among(gone, None)
        assert (dominated(mine, again, BOTH) is None) == (dominated(mine, fresh, BOTH) is None)


def test_only_slots_that_can_look_again_do(tmp_path: Path) -> None:
    """A clock without a rough rung has the last word in its one process, as its author wants."""
    engine = make_engine(
        tmp_path, [noop(x=1, ms=9.0), noop(x=2, ms=30.0)], ("decode_ms_p50 <= 10",)
    )
    engine.evaluators = [
        EvaluatorSlot(s.index, s.name, s.params, s.metrics, (Rung.FULL,))
        if s.name == "generation"
        else s
        for s in engine.evaluators
    ]
    engine.run()
    assert engine.recorder.outcomes[1].kind is OutcomeKind.INFEASIBLE
    assert engine.target.jobs.count("generation:full") == 2  # type: ignore[attr-defined]
