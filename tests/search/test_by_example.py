"""Accuracy is looked at example by example, until all of them could change nothing."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_search import FakeTarget, make_engine, measures, noop

from paretune.core.job import Job
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.result import OutcomeKind
from paretune.search.constraints import Objective, parse_constraint
from paretune.search.early_stops import EarlyStops
from paretune.search.engine import Engine
from paretune.search.reconsider import partly_measured, to_reconsider
from paretune.search.run import Shortcuts
from paretune.search.summary import summarize

TOTAL, ROUGH = 400, 48


class ByExample(FakeTarget):
    """Answers each example right or wrong; harder examples are hard for every model."""

    def __init__(self) -> None:
        super().__init__()
        draw = random.Random(8)
        self.hardness = [draw.random() for _ in range(TOTAL)]
        self.order = list(range(TOTAL))
        draw.shuffle(self.order)
        self.looked_at = 0

    def _value(self, job: Job, params: dict[str, Any]) -> Any:
        if not measures(job, "classification"):
            return super()._value(job, params)
        wanted = job.task.examples or (ROUGH if job.task.rung is Rung.ROUGH else TOTAL)
        rows = sorted(self.order[:wanted])
        own = random.Random(str(params))
        noise = [own.gauss(0, 0.03) for _ in range(TOTAL)]
        right = [float(self.hardness[row] + noise[row] < params["quality"]) for row in rows]
        share = sum(right) / len(rows)
        measured = Measurement(
            "accuracy",
            share,
            "fraction",
            share - 0.1,
            share + 0.1,
            len(rows),
            "wilson-1",
            tuple(right),
            details={"rows": rows},
        )
        return [measured]


def _searched(folder: Path, whole: bool, slope: float = 1.0, **changes: Any) -> Engine:
    qualities = [0.9, 0.91, 0.6, 0.89, 0.75, 0.885, 0.5, 0.905, 0.7, 0.84, 0.8, 0.65]
    candidates = [noop(x=x, quality=q, ms=30.0 + slope * x) for x, q in enumerate(qualities)]
    engine = make_engine(
        folder,
        candidates,
        ("accuracy >= baseline - 0.03",),
        shortcuts=Shortcuts(early_stops=not whole),
    )
    engine.target = ByExample()
    for name, value in changes.items():
        setattr(engine, name, value)
    engine.run()
    return engine


def _examples(engine: Engine) -> int:
    return sum((o.measurements or {})["accuracy"].n for o in engine.recorder.outcomes)


def test_the_same_front_for_a_fraction_of_the_examples(tmp_path: Path) -> None:
    cheap, whole = _searched(tmp_path, whole=False), _searched(tmp_path, whole=True)
    assert cheap.summary().front == whole.summary().front
    assert cheap.summary().best == whole.summary().best
    assert _examples(whole) == 12 * TOTAL
    assert _examples(cheap) < 0.6 * _examples(whole)


def test_who_stops_early_is_surely_worse_on_all_examples(tmp_path: Path) -> None:
    cheap, whole = _searched(tmp_path, whole=False), _searched(tmp_path, whole=True)
    final = {o.id: o.value("accuracy") or 0.0 for o in whole.recorder.outcomes}
    stopped = [o for o in cheap.recorder.outcomes if o.kind is not OutcomeKind.OK]
    assert any((o.measurements or {})["accuracy"].n > ROUGH for o in stopped)
    for outcome in stopped:
        assert outcome.reason
        if outcome.kind is OutcomeKind.INFEASIBLE:
            assert final[outcome.id] < final[1] - 0.03
    assert all(any(s.step == "classification:rough" for s in o.seconds) for o in stopped)


def test_a_constraint_that_is_surely_met_needs_no_more_examples(tmp_path: Path) -> None:
    only_speed = [Objective("decode_ms_p50", "minimize")]
    engine = _searched(tmp_path, whole=False, slope=-1.0, objectives=only_speed)
    finished = [o for o in engine.recorder.outcomes if o.kind is OutcomeKind.OK]
    partly = [o for o in finished if (o.measurements or {})["accuracy"].n < TOTAL]
    assert partly
    truth = {
        o.id: o.value("accuracy")
        for o in _searched(tmp_path, whole=True, slope=-1.0).recorder.outcomes
    }
    for outcome in partly:
        assert (truth[outcome.id] or 0.0) >= (truth[1] or 0.0) - 0.03


@pytest.mark.parametrize("whole", [True, False])
def test_the_baseline_sees_every_example(tmp_path: Path, whole: bool) -> None:
    engine = _searched(tmp_path, whole=whole)
    assert (engine.recorder.outcomes[0].measurements or {})["accuracy"].n == TOTAL


class TwoMetrics(ByExample):
    """Also yields a score without bounds; its intervals mislead while few examples were seen."""

    def _value(self, job: Job, params: dict[str, Any]) -> Any:
        value = super()._value(job, params)
        if measures(job, "classification"):
            n = value[0].n
            score = 0.3 if ROUGH < n < TOTAL else 0.8
            value.append(
                Measurement(
                    "macro_f1", score, "fraction", score - 0.05, score + 0.05, n, "bootstrap-1"
                )
            )
        return value


def test_many_looks_decide_only_by_bounds_that_hold_at_every_look(tmp_path: Path) -> None:
    candidates = [noop(x=0, quality=0.9, ms=30.0), noop(x=1, quality=0.9, ms=20.0)]
    engine = make_engine(tmp_path, candidates, ("macro_f1 >= 0.7", "accuracy >= 0.3"))
    engine.target = TwoMetrics()
    slots = [
        replace(s, metrics=(*s.metrics, MetricSpec("macro_f1", "fraction", "maximize", False)))
        if s.name == "classification"
        else s
        for s in engine.evaluators
    ]
    engine.evaluators = slots
    engine.run()
    second = engine.recorder.outcomes[1]
    assert second.kind is OutcomeKind.OK, second.reason
    assert (second.measurements or {})["macro_f1"].n == TOTAL


def test_a_baseline_that_did_not_come_to_its_end_bounds_nothing(tmp_path: Path) -> None:
    candidates = [noop(x=0, quality=0.9, status="timeout", at="measure"), noop(x=1, quality=0.9)]
    engine = make_engine(tmp_path, candidates)
    engine.target = ByExample()
    engine.run()
    base, other = engine.recorder.outcomes
    assert base.kind is OutcomeKind.TIMEOUT
    rough = Measurement(
        "accuracy", 0.5, "fraction", 0.4, 0.6, 1, "x", (1.0,), details={"rows": [0]}
    )
    engine.recorder.outcomes[0] = replace(base, measurements={"accuracy": rough})
    assert EarlyStops(engine, candidates[1]).reference("accuracy") is None
    assert other.kind is OutcomeKind.OK


def test_what_was_enough_for_a_laxer_limit_is_looked_at_again(tmp_path: Path) -> None:
    only_speed = [Objective("decode_ms_p50", "minimize")]
    engine = _searched(tmp_path, whole=False, slope=-1.0, objectives=only_speed)
    outcomes = engine.recorder.outcomes
    base = outcomes[0].measurements or {}
    partly = {o.id for o in outcomes if o.kind is OutcomeKind.OK and partly_measured(o, base)}
    assert partly
    specs = [spec for slot in engine.evaluators for spec in slot.metrics]

    def reopened(*constraints: str, objectives: list[Objective] = only_speed) -> set[int]:
        parsed = [parse_constraint(text) for text in constraints]
        summary = summarize(outcomes, objectives, parsed, outcomes[0])
        return {o.id for o in to_reconsider(outcomes, summary, objectives, specs, base)} & partly

    assert reopened("accuracy >= baseline - 0.03") == set()
    assert reopened("accuracy >= baseline + 0.05") == partly
    assert reopened(objectives=[Objective("accuracy", "maximize")]) == partly


class InTime(ByExample):
    """Each measurement begins a process, and each example takes its time."""

    def __init__(self, begins_s: float, example_s: float) -> None:
        super().__init__()
        self.begins_s, self.example_s = begins_s, example_s
        self.now = 0.0
        self.seen: dict[str, int] = {}

    def _value(self, job: Job, params: dict[str, Any]) -> Any:
        value = super()._value(job, params)
        if measures(job, "classification"):
            before = self.seen.get(str(params), 0)
            self.seen[str(params)] = value[0].n
            self.now += self.begins_s + self.example_s * (value[0].n - before)
        return value


@pytest.mark.parametrize(
    ("begins_s", "example_s", "parts"),
    [
        (0.0, 0.5, [96, 192, 384]),
        (0.9, 0.001, [96, 192, 384]),  # negligible
        (10.0, 0.5, [96, 192, 384]),  # 20 examples take as long as the start of a process
        (60.0, 0.5, [168, 336]),
        (60.0, 0.3, [248]),
        (60.0, 0.1, []),
        (60.0, 0.0, []),
    ],
)
def test_a_part_takes_as_long_as_the_start_of_its_process(
    tmp_path: Path, begins_s: float, example_s: float, parts: list[int]
) -> None:
    candidates = [noop(x=0, quality=0.9, ms=30.0), noop(x=1, quality=0.9, ms=20.0)]
    target = InTime(begins_s, example_s)
    asked: list[int] = []

    def noting(*args: Any, **more: Any) -> Job:
        if more.get("examples"):
            asked.append(more["examples"])
        return measure(*args, **more)

    engine = make_engine(tmp_path, candidates, clock=lambda: target.now)
    engine.target = target
    measure, engine.job_factory.measure = engine.job_factory.measure, noting  # type: ignore[method-assign]
    engine.run()
    assert [o.kind for o in engine.recorder.outcomes] == [OutcomeKind.OK] * 2
    assert asked == parts
    assert engine.recorder.outcomes[1].measurements["accuracy"].n == TOTAL  # type: ignore[index]
