"""Who may turn out to be on the other side of a limit."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.borderline import Borderline, borderline, side_of
from paretune.search.constraints import Objective, parse_constraint
from paretune.search.summary import summarize
from paretune.stats.paired import limit_alpha
from paretune.stats.sequential import least_rounds

OBJECTIVES = (Objective("accuracy", "maximize"),)
CANDIDATE = Candidate((Step("noop", {"x": 1}),), RuntimeSettings("cpu", 1))


def process(value: float, round: int | None, **more: Any) -> dict[str, Any]:
    return {"n": 1, "value": value, "round": round, **more}


def measured(value: float, half: float, rounds: Sequence[float] = (), **more: Any) -> Measurement:
    processes = [process(value, None)] * 3
    processes += [process(v, i + 1, **more) for i, v in enumerate(rounds)]
    return Measurement(
        "decode_ms_p50",
        value,
        "ms",
        value - half,
        value + half,
        9,
        details={"processes": processes},
    )


def outcome(
    id: int, ms: Measurement, accuracy: float = 0.5, kind: OutcomeKind = OutcomeKind.OK
) -> TrialResult:
    exact = Measurement("accuracy", accuracy, "fraction", accuracy, accuracy, 9)
    candidate = Candidate((Step("noop", {"x": id}),), RuntimeSettings("cpu", 1))
    return TrialResult(id, candidate, kind, measurements={"decode_ms_p50": ms, "accuracy": exact})


def near(
    *outcomes: TrialResult,
    limits: Sequence[str] = ("decode_ms_p50 <= 10",),
    base: int | None = None,
) -> list[Borderline]:
    baseline = None if base is None else outcomes[base]
    summary = summarize(outcomes, OBJECTIVES, tuple(map(parse_constraint, limits)), baseline)
    return list(borderline(outcomes, summary, baseline))


def test_who_reaches_over_a_limit_is_named_on_either_side() -> None:
    text = "decode_ms_p50 <= 10"
    found = near(
        outcome(1, measured(9.9, 0.5), 0.9),  # the front, and may miss it
        outcome(2, measured(9.8, 0.5), 0.8),  # feasible, and beaten: nobody asks
        outcome(3, measured(10.2, 0.5), 0.7),  # may meet it
        outcome(4, measured(12.0, 0.5), 0.99),  # surely too slow
        outcome(5, measured(10.1, 0.5), 0.99, OutcomeKind.PRUNED),
    )
    assert found == [Borderline(1, text, None), Borderline(3, text, None)]
    assert found[0].to_json() == {"id": 1, "constraint": text, "met": None}


def test_who_surely_misses_another_limit_is_near_none() -> None:
    limits = ("decode_ms_p50 <= 10", "accuracy >= 0.8")
    assert near(outcome(1, measured(10.2, 0.5), 0.7), limits=limits) == []
    assert [n.id for n in near(outcome(1, measured(10.2, 0.5), 0.9), limits=limits)] == [1]


@pytest.mark.parametrize(("value", "met"), [(9.9, True), (10.1, False)])
def test_rounds_that_agree_settle_it(value: float, met: bool) -> None:
    many = (value,) * least_rounds(limit_alpha(1, 1))
    (found,) = near(outcome(1, measured(value, 0.5, many)))
    assert found.met is met
    (found,) = near(outcome(1, measured(value, 0.5, many[:-1])))
    assert found.met is None


def test_the_error_is_shared_among_all_who_are_measured_in_rounds() -> None:
    """What suffices for one of them alone does not for one of two."""
    many = (9.9,) * least_rounds(limit_alpha(1, 1))
    one, two = (outcome(i, measured(9.9, 0.5, many), 0.9 + i / 100) for i in (1, 2))
    assert [n.met for n in near(one, two)] == [None]
    more = (9.9,) * least_rounds(limit_alpha(2, 1))
    one, two = (outcome(i, measured(9.9, 0.5, more), 0.9 + i / 100) for i in (1, 2))
    assert [n.met for n in near(one, two)] == [True]


def test_an_accuracy_is_what_it_is_on_its_examples() -> None:
    unsure = Measurement("accuracy", 0.8, "fraction", 0.7, 0.9, 100, "wilson-1")
    one = TrialResult(1, CANDIDATE, OutcomeKind.OK, measurements={"accuracy": unsure})
    assert near(one, limits=["accuracy >= 0.75"]) == []


def test_what_others_disturbed_or_another_hour_settles_nothing() -> None:
    many = (9.9,) * least_rounds(limit_alpha(1, 1))
    busy = {"interference": {"others": 0.5, "stolen": 0.0}}
    assert [n.met for n in near(outcome(1, measured(9.9, 0.5, many, **busy)))] == [None]
    assert [n.met for n in near(outcome(1, measured(9.9, 0.5, many, level=1.2)))] == [None]


@pytest.mark.parametrize(
    ("limit", "slower", "met"),
    [
        ("decode_ms_p50 <= baseline * 0.9", 0.88, True),
        ("decode_ms_p50 <= baseline * 0.9", 0.92, False),
        ("decode_ms_p50 <= baseline", 0.98, True),
        ("decode_ms_p50 <= baseline + 1", 1.05, True),
        ("decode_ms_p50 <= baseline - 1", 0.95, False),
    ],
)
def test_a_limit_by_the_baseline_is_settled_round_by_round(
    limit: str, slower: float, met: bool
) -> None:
    """The hour changes the speed of both by half; in each round the one is as much slower."""
    hours = [10.0 * (1 + i % 2 / 2) for i in range(least_rounds(limit_alpha(2, 1)))]
    base = {"decode_ms_p50": measured(10.0, 0.5, hours)}
    mine = {"decode_ms_p50": measured(10.0 * slower, 0.5, [slower * hour for hour in hours])}
    asked = parse_constraint(limit).resolve({"decode_ms_p50": 10.0})
    assert asked is not None
    assert side_of(asked, mine, base, limit_alpha(2, 1)) is met
    assert side_of(asked, mine, {}, limit_alpha(2, 1)) is None


def test_the_baseline_is_near_no_limit_that_it_is_itself() -> None:
    base, other = outcome(1, measured(10.0, 0.5), 0.9), outcome(2, measured(10.2, 0.5), 0.95)
    limits = ["decode_ms_p50 <= baseline"]
    assert [n.id for n in near(base, other, limits=limits, base=0)] == [2]


@given(st.lists(st.floats(5.0, 15.0), max_size=40))
def test_a_side_of_a_limit_is_not_sure_by_few_rounds(values: list[float]) -> None:
    limit = parse_constraint("decode_ms_p50 <= 10").resolve({})
    assert limit is not None
    middle = statistics.median([*values, 10.0, 10.0, 10.0])
    side = side_of(limit, {"decode_ms_p50": measured(middle, 1.0, values)}, {}, 0.01)
    if side is not None:
        assert len(values) >= least_rounds(0.01)
    holding = sum(limit.holds(value) for value in values)
    if len(values) >= least_rounds(0.01) and holding in (0, len(values)):
        assert side is (holding > 0)


@given(
    st.lists(st.floats(8.0, 12.0), min_size=1, max_size=40),
    st.floats(8.0, 12.0),
    st.sampled_from(["decode_ms_p50 <= 10", "decode_ms_p50 <= baseline", "decode_ms_p50 < 9.9"]),
)
def test_what_is_said_of_a_limit_never_contradicts_what_is_feasible(
    values: list[float], value: float, text: str
) -> None:
    limit = parse_constraint(text).resolve({"decode_ms_p50": 10.0})
    assert limit is not None
    base = {"decode_ms_p50": measured(10.0, 1.0, [10.0] * len(values))}
    side = side_of(limit, {"decode_ms_p50": measured(value, 1.0, values)}, base, 0.01)
    assert side in (None, limit.holds(value))


def test_the_baselines_artifact_with_other_threads_is_not_near_a_limit_relative_to_it() -> None:
    """A copy of the baseline might differ on another example; the same model does not."""
    right = tuple(float(n % 4 != 0) for n in range(80))
    accuracy = Measurement("accuracy", 0.75, "fraction", 0.64, 0.83, 80, samples=right)
    base, same, copy = (
        TrialResult(
            id,
            Candidate((), RuntimeSettings("cpu", threads)),
            OutcomeKind.OK,
            measurements={"accuracy": accuracy},
            artifact=artifact,
        )
        for id, threads, artifact in ((1, 2, "sha256:a"), (2, 1, "sha256:a"), (3, 1, "sha256:b"))
    )
    limits = ("accuracy >= baseline - 0.02",)
    assert near(base, same, limits=limits, base=0) == []
    assert [n.id for n in near(base, copy, limits=limits, base=0)] == [3]
