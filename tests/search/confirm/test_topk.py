"""Finals: who may be on the front is measured in turns until it is known who is."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_search import (
    IN_TURNS,
    OBJECTIVES,
    FakeTarget,
    Memory,
    NoisyTarget,
    make_engine,
    measures,
    noop,
    recipe_of,
)

from paretune.core.conditions import Conditions
from paretune.core.details import Details
from paretune.core.device import TargetInfo
from paretune.core.interference import Interference
from paretune.core.job import Job, JobResult, JobStatus
from paretune.core.measurement import Measurement
from paretune.search.borderline import side_of
from paretune.search.confirm.topk import TopK
from paretune.search.constraints import parse_constraint
from paretune.search.engine import Engine
from paretune.search.front_uncertainty import possible_dominators, ties
from paretune.stats.paired import pair_alpha, pair_sequence
from paretune.stats.pooling import last_round, processes_of
from paretune.stats.sequential import least_rounds


def _engine(folder: Path, candidates: list[Any], target: FakeTarget, **settings: Any) -> Engine:
    engine = make_engine(folder, candidates, finals_s=20.0, **settings)
    engine.evaluators = IN_TURNS
    engine.target = target
    return engine


def test_the_last_rung_is_measured_in_several_processes(tmp_path: Path) -> None:
    engine = _engine(tmp_path, [noop(x=1)], NoisyTarget())
    engine.run()
    measured = (engine.recorder.outcomes[0].measurements or {})["decode_ms_p50"]
    assert len(processes_of(measured)) == 3
    assert engine.target.jobs.count("generation:full") == 3  # type: ignore[attr-defined]
    assert engine.target.jobs.count("generation:rough") == 1  # type: ignore[attr-defined]


def test_close_candidates_are_told_apart_though_the_machine_slows_down(tmp_path: Path) -> None:
    """5 % apart, while the machine becomes slower by 10 % and more on the way."""
    pair = [noop(x=1, ms=10.0, quality=0.9), noop(x=2, ms=10.5, quality=0.95)]
    engine = _engine(tmp_path, pair, NoisyTarget(drift=0.004))
    summary = engine.run()
    assert summary.front == (1, 2)
    outcomes = engine.recorder.outcomes
    alpha = pair_alpha(2, 1)
    a, b = (o.measurements or {} for o in outcomes)
    assert last_round(a) == last_round(b) >= least_rounds(alpha)
    assert pair_sequence(a, b, "decode_ms_p50", alpha).high < 0
    assert possible_dominators(outcomes, summary, OBJECTIVES) == {1: [], 2: []}
    assert ties(outcomes, summary, OBJECTIVES) == ()
    assert all(any(step.step == "finals" for step in o.seconds) for o in outcomes)


def test_those_that_cannot_be_told_apart_are_a_group_with_a_pick(tmp_path: Path) -> None:
    alike = [noop(x=1, ms=10.0, quality=0.9), noop(x=2, ms=10.0, quality=0.905)]
    engine = _engine(tmp_path, alike, NoisyTarget())
    summary = engine.run()
    assert TopK(engine).decided([1, 2])  # found the same within the margin
    if len(summary.front) == 2:  # by the points one of them may have beaten the other
        (group,) = ties(engine.recorder.outcomes, summary, OBJECTIVES)
        assert group.members == (1, 2)
        assert group.pick == summary.best
        assert group.reason
    assert any(
        others
        for others in possible_dominators(engine.recorder.outcomes, summary, OBJECTIVES).values()
    )


def test_what_is_surely_beaten_is_no_finalist(tmp_path: Path) -> None:
    three = [noop(x=1, ms=10.0), noop(x=2, ms=10.2, quality=0.95), noop(x=3, ms=30.0, quality=0.5)]
    engine = _engine(tmp_path, three, NoisyTarget())
    engine.run()
    rounds = {o.id: last_round(o.measurements or {}) for o in engine.recorder.outcomes}
    assert rounds[1] == rounds[2] > 0
    assert rounds[3] == 0


def test_one_candidate_or_no_speed_needs_no_finals(tmp_path: Path) -> None:
    engine = _engine(tmp_path, [noop(x=1)], NoisyTarget())
    engine.run()
    assert last_round(engine.recorder.outcomes[0].measurements or {}) == 0
    engine = _engine(tmp_path, [noop(x=1), noop(x=2, ms=9.9)], NoisyTarget())
    engine.objectives = OBJECTIVES[:1]
    engine.run()
    assert all(last_round(o.measurements or {}) == 0 for o in engine.recorder.outcomes)


def test_an_interrupted_round_is_not_half_recorded_and_the_finals_go_on(tmp_path: Path) -> None:
    class Interrupted(NoisyTarget):
        left = 10  # 2 x (1 rough + 3 full), and one and a half rounds

        def _value(self, job: Job, params: dict[str, Any]) -> Any:
            if measures(job, "generation"):
                if self.left == 0:
                    raise KeyboardInterrupt
                self.left -= 1
            return super()._value(job, params)

    pair = [noop(x=1, ms=10.0), noop(x=2, ms=10.5, quality=0.95)]
    target = Interrupted()
    target.left = 11
    engine = _engine(tmp_path, pair, target)
    with pytest.raises(KeyboardInterrupt):
        engine.run()
    outcomes = list(engine.recorder.outcomes)
    assert {last_round(o.measurements or {}) for o in outcomes} == {1}
    again = _engine(tmp_path, pair, NoisyTarget(), told=outcomes)
    assert isinstance(again.recorder, Memory)
    again.run()
    rounds = [
        [p.round for p in processes_of((o.measurements or {})["decode_ms_p50"])]
        for o in again.recorder.outcomes
    ]
    assert rounds[0] == rounds[1]
    assert rounds[0][:4] == [None, None, None, 1]
    assert rounds[0][3:] == list(range(1, len(rounds[0]) - 2))


def test_a_finalist_that_does_not_run_any_more_ends_the_finals_and_no_search(
    tmp_path: Path,
) -> None:
    class Breaks(NoisyTarget):
        def _answer(self, job: Job) -> JobResult | None:
            if self.jobs.count("generation:full") >= 6 and job.kind == "measure":
                return JobResult(JobStatus.CRASHED, reason="SIGSEGV")
            return super()._answer(job)

    pair = [noop(x=1, ms=10.0), noop(x=2, ms=10.5, quality=0.95)]
    engine = _engine(tmp_path, pair, Breaks())
    summary = engine.run()
    assert summary.best is not None
    assert all(last_round(o.measurements or {}) == 0 for o in engine.recorder.outcomes)


class _Busy:
    """What a watch sees: others had the processor the first so many times."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.watches = 0

    @contextmanager
    def __call__(self) -> Iterator[Any]:
        self.watches += 1
        busy = self.watches <= self.times
        yield SimpleNamespace(seen=Interference(1.0 if busy else 0.0, 0.0))


@pytest.mark.parametrize(("times", "jobs", "noted"), [(0, 4, False), (1, 5, False), (99, 5, True)])
def test_what_others_disturbed_is_measured_again_and_noted(
    tmp_path: Path, times: int, jobs: int, noted: bool
) -> None:
    """One rough and three full blocks; made again once if hit, unless others stay busy."""
    told: list[str] = []
    engine = _engine(tmp_path, [noop(x=1)], NoisyTarget())
    engine.watching = _Busy(times)
    engine.watcher.note = told.append  # type: ignore[method-assign]
    engine.run()
    ran = [job for job in engine.target.jobs if job.startswith("generation")]  # type: ignore[attr-defined]
    assert len(ran) == jobs
    measured = (engine.recorder.outcomes[0].measurements or {})["decode_ms_p50"]
    assert ("interference" in measured.details) == noted
    assert bool(told) == (times > 0)
    assert all("other programs used 100% of the processor" in line for line in told)


def test_rounds_that_others_disturbed_are_noted(tmp_path: Path) -> None:
    pair = [noop(x=1, ms=10.0, quality=0.9), noop(x=2, ms=10.5, quality=0.95)]
    engine = _engine(tmp_path, pair, NoisyTarget())
    engine.finals_s, finals_s = 0.0, engine.finals_s
    engine.run()
    engine.finals_s, engine.watching = finals_s, _Busy(1)  # the first process of the first round
    engine.run()
    told = [(o.measurements or {})["decode_ms_p50"] for o in engine.recorder.outcomes]
    hit = [p.round for m in told for p in processes_of(m) if p.interference]
    assert hit == [1]
    assert sum("1 of " in str(m.reason) for m in told) == 1


def test_rounds_in_which_the_device_was_throttled_are_noted_and_marked(tmp_path: Path) -> None:
    class Warm(NoisyTarget):
        hot = False

        def _value(self, job: Job, params: dict[str, Any]) -> Any:
            found = super()._value(job, params)
            if not measures(job, "generation"):
                return found
            throttled, self.hot = (("board: throttled",) if self.hot else ()), False
            return [m.noting(conditions=Conditions(throttled=throttled)) for m in found]

    pair = [noop(x=1, ms=10.0, quality=0.9), noop(x=2, ms=10.5, quality=0.95)]
    target = Warm()
    engine = _engine(tmp_path, pair, target)
    engine.finals_s, finals_s = 0.0, engine.finals_s
    engine.run()
    told: list[str] = []
    engine.watcher.note = told.append  # type: ignore[method-assign]
    engine.finals_s, target.hot = finals_s, True  # the first process of the first round
    engine.run()
    measured = [(o.measurements or {})["decode_ms_p50"] for o in engine.recorder.outcomes]
    assert [p.round for m in measured for p in processes_of(m) if p.disturbed] == [1]
    (marked,) = (m for m in measured if "was throttled" in str(m.reason))
    assert marked.details.conditions == Conditions(throttled=("board: throttled",))
    assert sum("as a finalist (board: throttled)" in line for line in told) == 1


class InTurns(NoisyTarget):
    """Also runs jobs in turns: a second's disturbance hits the turns of all alike."""

    def __init__(self) -> None:
        super().__init__(noise=0.005)
        self.rounds: list[list[str]] = []

    def info(self) -> TargetInfo:
        return TargetInfo("fake", memory_free=8_000_000_000)

    def interleave(
        self, jobs: list[Job], order: random.Random, seconds: float | None = None
    ) -> list[JobResult]:
        self.rounds.append([recipe_of(job)[-1].params["x"] for job in jobs])
        moments = [self.draw.lognormvariate(0, 0.2) for _ in range(4)]
        results = []
        for job in jobs:
            (block,) = self.submit(job).result().value
            turns = [block.value * moment for moment in moments]
            block = replace(block, value=statistics.median(turns), details={"turns": turns})
            results.append(JobResult(JobStatus.OK, [block]))
        return results


def test_turn_is_set_against_turn(tmp_path: Path) -> None:
    """4 % apart, where every second is up to half as fast again as the next."""
    pair = [noop(x=1, ms=10.0, quality=0.9), noop(x=2, ms=10.4, quality=0.95)]
    target = InTurns()
    engine = _engine(tmp_path, pair, target)
    summary = engine.run()
    a, b = (o.measurements or {} for o in engine.recorder.outcomes)
    assert pair_sequence(a, b, "decode_ms_p50", pair_alpha(2, 1)).high < 0
    assert possible_dominators(engine.recorder.outcomes, summary, OBJECTIVES) == {1: [], 2: []}
    assert least_rounds(pair_alpha(2, 1)) <= len(target.rounds) <= 40
    assert all(sorted(ids) == [1, 2] for ids in target.rounds)
    assert len({tuple(ids) for ids in target.rounds}) == 2, "the order is drawn"


def test_who_seems_to_miss_a_limit_by_a_little_gets_another_look(tmp_path: Path) -> None:
    """Its own minute was a bad one: in the rounds it is seen to be fast enough."""

    class BadMinute(NoisyTarget):
        left = iter((9.8, 9.7, 10.2, 10.4))  # its rough process, and its three

        def _value(self, job: Job, params: dict[str, Any]) -> Any:
            value = super()._value(job, params)
            if measures(job, "generation"):
                ms = params["ms"] * self.draw.uniform(0.995, 1.005)
                ms = next(self.left, ms) if params["x"] == 2 else ms
                value = [Measurement("decode_ms_p50", ms, "ms", ms, ms, 2, "fake-1")]
            return value

    two = [noop(x=1, ms=9.0, quality=0.5), noop(x=2, ms=9.8, quality=0.95)]
    engine = _engine(tmp_path, two, BadMinute(), constraints=("decode_ms_p50 <= 10",))
    before = engine.finals_s
    engine.finals_s = 0.0
    assert 2 not in engine.run().feasible
    engine.finals_s = before
    summary = engine.run()
    measured = engine.recorder.outcomes[1].measurements or {}
    assert side_of(summary.limits[0], measured, {}, 0.01) is True
    assert summary.front == (1, 2)


def test_too_little_time_for_an_answer_is_not_spent(tmp_path: Path) -> None:
    told: list[str] = []
    pair = [noop(x=1, ms=10.0, quality=0.9), noop(x=2, ms=10.5, quality=0.95)]
    engine = _engine(tmp_path, pair, NoisyTarget())
    engine.finals_s = 6.0  # and eleven rounds of two would take nine
    engine.watcher.note = told.append  # type: ignore[method-assign]
    engine.run()
    assert all(last_round(o.measurements or {}) == 0 for o in engine.recorder.outcomes)
    assert "none of them can be distinguished in 6 s" in told[-1]
    assert "finals: 5m" in told[-1]


def test_the_time_is_spent_on_as_many_as_it_is_enough_for(tmp_path: Path) -> None:
    told: list[str] = []
    four = [noop(x=i, ms=10.0 + i / 10, quality=0.9 + i / 100) for i in range(4)]
    engine = _engine(tmp_path, four, NoisyTarget())
    engine.watcher.note = told.append  # type: ignore[method-assign]
    engine.run()
    rounds = [last_round(o.measurements or {}) for o in engine.recorder.outcomes]
    assert rounds[0] > 0, "the baseline"
    assert sum(number > 0 for number in rounds) == 2
    assert any("only 2 of them" in line for line in told)


def test_who_takes_part_is_seen_anew_once_it_is_known_what_a_round_takes(tmp_path: Path) -> None:
    """The baseline is surely beaten: it is the first to be left out."""
    three = [
        noop(x=0, ms=30.0, quality=0.5),
        noop(x=1, ms=10.0, quality=0.9),
        noop(x=2, ms=10.1, quality=0.95),
    ]
    engine = _engine(tmp_path, three, NoisyTarget())
    engine.finals_s = 0.0
    engine.run()
    finals = TopK(engine)
    ids = finals.finalists()
    assert sorted(ids) == [1, 2, 3]
    with_it = 0.8 * 3 * least_rounds(pair_alpha(3, 1))
    without = 0.8 * 2 * least_rounds(pair_alpha(2, 1))
    told: list[str] = []
    engine.watcher.note = told.append  # type: ignore[method-assign]
    assert finals._affordable(ids, with_it + 1) == ids
    assert sorted(finals._affordable(ids, with_it - 1)) == [2, 3]
    assert told == []
    assert sorted(finals._affordable(ids, 2 * without + 1, pace=2.0)) == [2, 3]
    assert finals._affordable(ids, 2 * without - 1, pace=2.0) == []
    assert len(told) == 1
    engine.constraints = (parse_constraint("decode_ms_p50 <= baseline * 0.5"),)
    assert finals._affordable(ids, with_it - 1) == [ids[0], 1], "a limit is relative to it"


def test_too_few_rounds_do_not_hide_what_intervals_tell(tmp_path: Path) -> None:
    pair = [noop(x=1, ms=10.0, quality=0.9), noop(x=2, ms=15.0, quality=0.95)]
    engine = _engine(tmp_path, pair, NoisyTarget())
    engine.finals_s = 0.0
    summary = engine.run()
    outcomes = engine.recorder.outcomes
    assert ties(outcomes, summary, OBJECTIVES) == ()
    few = []
    for outcome in outcomes:
        measured = dict(outcome.measurements or {})
        m = measured["decode_ms_p50"]
        processes = [replace(p, round=i + 1) for i, p in enumerate(processes_of(m))]
        measured["decode_ms_p50"] = replace(m, details=Details(processes=tuple(processes)))
        few.append(replace(outcome, measurements=measured))
    assert all(last_round(o.measurements or {}) == 3 for o in few)
    assert ties(few, summary, OBJECTIVES) == ()
    assert possible_dominators(few, summary, OBJECTIVES) == {1: [], 2: []}


def test_finalists_are_not_made_slower_by_the_hour_of_their_finals(tmp_path: Path) -> None:
    """The machine is a fifth slower then; who was surely beaten before is no better for it."""

    class SlowFinals(NoisyTarget):
        def _value(self, job: Job, params: dict[str, Any]) -> Any:
            value = super()._value(job, params)
            if self.jobs.count("generation:full") > 9 and isinstance(value, list):
                ms = value[0].value * 1.2
                value = [Measurement("decode_ms_p50", ms, "ms", ms, ms, 2, "fake-1")]
            return value

    three = [
        noop(x=1, ms=10.0, quality=0.9),
        noop(x=2, ms=10.3, quality=0.95),
        noop(x=3, ms=11.0, quality=0.89),
    ]
    engine = _engine(tmp_path, three, SlowFinals(drift=0.0))
    summary = engine.run()
    outcomes = engine.recorder.outcomes
    assert [last_round(o.measurements or {}) > 0 for o in outcomes] == [True, True, False]
    assert summary.front == (1, 2)
    for outcome, ms in zip(outcomes, (10.0, 10.3, 11.0), strict=True):
        assert outcome.value("decode_ms_p50") == pytest.approx(ms, rel=0.03)
    rounds = [
        p
        for p in processes_of((outcomes[0].measurements or {})["decode_ms_p50"])
        if p.round is not None
    ]
    assert all(p.value > 11.5 and (p.level or 1) < 0.9 for p in rounds), "kept as measured"


def test_one_alone_is_measured_on_if_it_is_near_its_limit(tmp_path: Path) -> None:
    engine = _engine(
        tmp_path,
        [noop(x=1, ms=9.95)],
        NoisyTarget(noise=0.02, drift=0.0),
        constraints=("decode_ms_p50 <= 10",),
    )
    engine.objectives = OBJECTIVES[:1]
    summary = engine.run()
    measured = (engine.recorder.outcomes[0].measurements or {})["decode_ms_p50"]
    assert last_round({"decode_ms_p50": measured}) >= least_rounds(0.01)
    assert summary.limits[0].holds(measured.value)


def test_what_a_round_does_not_yield_is_not_waited_for(tmp_path: Path) -> None:
    class NoBlocks(NoisyTarget):
        def _value(self, job: Job, params: dict[str, Any]) -> Any:
            value = super()._value(job, params)
            if self.jobs.count("generation:full") > 6 and isinstance(value, list):
                value = [Measurement("decode_ms_p50", None, "ms", reason="too short")]
            return value

    told: list[str] = []
    pair = [noop(x=1, ms=10.0, quality=0.9), noop(x=2, ms=10.1, quality=0.95)]
    engine = _engine(tmp_path, pair, NoBlocks())
    engine.watcher.note = told.append  # type: ignore[method-assign]
    engine.run()
    assert engine.target.jobs.count("generation:full") == 8, "one round"  # type: ignore[attr-defined]
    assert any(
        "decode_ms_p50 cannot be measured in short interleaved blocks" in line for line in told
    )


def test_time_is_kept_for_finals_and_their_absence_is_told(tmp_path: Path) -> None:
    pair = [noop(x=1, ms=10.0, quality=0.9), noop(x=2, ms=10.1, quality=0.95)]
    engine = _engine(tmp_path, pair, NoisyTarget(), time_s=600.0)
    assert engine._for_finals == 20.0
    engine.time_s = 100.0
    assert engine._for_finals == 10.0
    told: list[str] = []
    short = _engine(tmp_path, pair, NoisyTarget(), time_s=4.0)
    short.watcher.note = told.append  # type: ignore[method-assign]
    short.run()
    assert [
        line
        for line in told
        if line.startswith("the finalists are not measured again: no time is left")
    ]
