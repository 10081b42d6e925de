"""The best so far over time agrees with the summary, whatever order the trials ended in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fake_search import OBJECTIVES, noop
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.search.constraints import parse_constraint
from paretune.search.progress import Progress, RunningProgress, ended, progress
from paretune.search.summary import StudySummary, summarize

ROWS = st.lists(
    st.tuples(
        st.sampled_from([OutcomeKind.OK] * 4 + [OutcomeKind.FAILED, OutcomeKind.SKIPPED]),
        st.integers(0, 8),
        st.integers(1, 8),
        st.one_of(st.none(), st.integers(0, 30)),
    ),
    max_size=12,
)


def outcome(
    id: int, tenths: int, ms: float, at: float | None = None, kind: OutcomeKind = OutcomeKind.OK
) -> TrialResult:
    measured = {
        "accuracy": Measurement("accuracy", tenths / 10, "fraction"),
        "decode_ms_p50": Measurement("decode_ms_p50", float(ms), "ms", ms - 1, ms + 1),
    }
    return TrialResult(
        id,
        noop(x=id),
        kind,
        measurements=measured if kind is OutcomeKind.OK else None,
        seconds=(StepTime("noop", 2.0, False),),
        ran_job=kind is not OutcomeKind.SKIPPED,
        ended_s=at,
    )


def of(outcomes: list[TrialResult], *texts: str, spent_s: float = 0.0) -> Progress:
    return progress(outcomes, _summary(outcomes, *texts), OBJECTIVES, spent_s=spent_s)


def _summary(outcomes: list[TrialResult], *texts: str) -> StudySummary:
    constraints = tuple(map(parse_constraint, texts))
    return summarize(outcomes, OBJECTIVES, constraints, outcomes[0] if outcomes else None)


def test_each_point_is_what_was_found_by_then() -> None:
    rows = [outcome(1, 8, 8, 10.0), outcome(2, 8, 6, 30.0), outcome(3, 6, 1, 20.0)]
    found = of(rows, "accuracy >= 0.7", spent_s=45.0)
    assert [(p.at_s, p.trials, p.best) for p in found.points] == [
        (10, 1, 1),
        (30, 3, 2),
        (45, 3, 2),
    ]
    assert found.points[1].values == {"accuracy": 0.8, "decode_ms_p50": 6.0}
    # One accuracy: it has no range. The first lies a tenth of the times' range before the
    # reference point, the second eleven tenths.
    assert [p.hypervolume for p in found.points] == pytest.approx([1 / 11, 1, 1])
    assert found.reference == {"accuracy": 0.8, "decode_ms_p50": pytest.approx(8.2)}
    assert found.found_s == 30
    assert found.gained_since(29.0) == pytest.approx(10 / 11)
    assert found.gained_since(30.0) == 0


def test_without_a_feasible_candidate_there_is_no_curve() -> None:
    found = of([outcome(1, 8, 8)], "accuracy >= 0.9")
    assert found == Progress()
    assert found.found_s is None
    assert found.gained_since(0.0) == 0


def test_outcomes_of_an_earlier_version_are_placed_by_their_seconds() -> None:
    rows = [outcome(1, 8, 8), outcome(2, 8, 6), outcome(3, 8, 5, 100.0)]
    assert [at for at, _ in ended(rows)] == [2, 4, 100]


@given(ROWS, st.sampled_from([(), ("accuracy >= 0.4",), ("decode_ms_p50 <= baseline",)]))
def test_the_curve_rises_to_what_the_study_has(rows: list[Any], texts: tuple[str, ...]) -> None:
    outcomes = [
        outcome(id, tenths, ms, at, kind) for id, (kind, tenths, ms, at) in enumerate(rows, start=1)
    ]
    summary, found = _summary(outcomes, *texts), of(outcomes, *texts, spent_s=99.0)
    assert bool(found.points) == (summary.best is not None)
    shares = [p.hypervolume for p in found.points]
    assert shares == sorted(shares)
    for point in found.points:
        there = [o for at, o in ended(outcomes) if at <= point.at_s]
        assert point.trials <= sum(o.ran_job for o in there)
    if summary.best is not None:
        assert (found.points[-1].best, shares[-1]) == (summary.best, 1)
        assert found.points[-1].at_s == 99.0
        assert found.points[-1].trials == sum(o.ran_job for o in outcomes)


def test_it_is_the_same_after_the_study_was_read_again() -> None:
    rows = [outcome(1, 8, 8, 10.0), outcome(2, 8, 6, 30.0)]
    again = [
        replace(TrialResult.from_json(o.to_json(), o.measurements), candidate=o.candidate)
        for o in rows
    ]
    assert of(again) == of(rows)


def test_while_a_search_runs_it_is_derived_again_where_the_front_changed() -> None:
    running, rows = RunningProgress(OBJECTIVES), [outcome(1, 8, 8, 10.0)]
    first = running.of(rows, _summary(rows))
    assert running.of(rows, _summary(rows)) is first
