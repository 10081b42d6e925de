"""How good forecasts were, as the outcomes say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fake_search import noop
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.core.trial_forecast import MetricForecast, TrialForecast
from paretune.search.ask_seconds import ask_seconds
from paretune.search.forecast_quality import Quality, forecast_quality, trial_seconds

Told = tuple[float, float, float]
"""What was expected: value and interval."""


def outcome(
    id: int,
    measured: float,
    told: Told | None = None,
    *,
    unit: str = "ms",
    chance: float | None = None,
    seconds: float | None = None,
    took: float = 2.0,
    details: dict[str, Any] | None = None,
    **fields: Any,
) -> TrialResult:
    forecast = None
    if told is not None or chance is not None or seconds is not None:
        metrics = {} if told is None else {"decode_ms_p50": MetricForecast(*told)}
        forecast = TrialForecast(metrics, feasible=chance, seconds=seconds)
    m = Measurement("decode_ms_p50", measured, unit, details=details or {})
    fields = {"kind": OutcomeKind.OK, **fields}
    return TrialResult(
        id,
        noop(x=id),
        measurements={"decode_ms_p50": m},
        seconds=(StepTime("noop", took, False),),
        forecast=forecast,
        **fields,
    )


def of(*outcomes: TrialResult) -> Quality | None:
    found = forecast_quality(outcomes, {o.id for o in outcomes})
    return None if found is None else found.metrics.get("decode_ms_p50")


def test_forecasts_are_compared_with_what_was_measured() -> None:
    found = of(
        outcome(1, 100.0),
        outcome(2, 200.0),
        outcome(3, 50.0, (55.0, 45.0, 65.0)),
        outcome(4, 100.0, (80.0, 70.0, 90.0)),
        outcome(5, 200.0, (202.0, 190.0, 210.0)),
    )
    assert found is not None
    assert found.candidates == (3, 4, 5)
    assert (found.intervals, found.inside) == (3, 2)
    assert found.error == pytest.approx(0.1)  # of 0.1, 0.2 and 0.01
    assert found.relative
    # The means before were 150, 116.67 and 112.5; the last values 200, 50 and 100.
    assert found.mean_error == pytest.approx(0.4375)
    assert found.last_error == pytest.approx(0.5)
    assert found.rank_correlation == pytest.approx(1.0)


def test_errors_of_shares_are_differences() -> None:
    found = of(outcome(1, 0.5, unit="fraction"), outcome(2, 0.8, (0.7, 0.6, 0.9), unit="fraction"))
    assert found is not None
    assert not found.relative
    assert found.error == pytest.approx(0.1)
    assert found.mean_error == found.last_error == pytest.approx(0.3)
    assert found.rank_correlation is None


def test_a_value_of_zero_makes_errors_absolute() -> None:
    found = of(outcome(1, 0.0), outcome(2, 4.0, (5.0, 3.0, 6.0)))
    assert found is not None
    assert (found.relative, found.error) == (False, 1.0)


@pytest.mark.parametrize(
    "fields",
    [
        {"details": {"taken_from": 1}},
        {"details": {"early": True}, "kind": OutcomeKind.PRUNED},
        {"kind": OutcomeKind.DUPLICATE},
        {"kind": OutcomeKind.FAILED, "transient": True},
    ],
)
def test_only_what_a_trial_measured_itself_to_the_end_counts(fields: dict[str, Any]) -> None:
    outcomes = [outcome(1, 10.0), outcome(2, 10.0, (10.0, 9.0, 11.0), **fields)]
    assert of(*outcomes) is None
    assert forecast_quality(outcomes, set()) is not None


def test_the_same_number_of_the_same_artifact_counts_once() -> None:
    told = (10.0, 9.0, 11.0)
    found = of(*(outcome(id, 10.0, told, artifact="sha256:a") for id in (1, 2, 3)))
    assert found is not None
    assert found.candidates == (1,)
    found = of(*(outcome(id, 10.0 + id, told, artifact="sha256:a") for id in (1, 2, 3)))
    assert found is not None
    assert found.candidates == (1, 2, 3)


def test_an_early_stop_counts_by_what_it_has_measured_to_the_end() -> None:
    found = of(outcome(1, 10.0, (10.0, 9.0, 11.0), kind=OutcomeKind.PRUNED))
    assert found is not None
    assert found.candidates == (1,)


def test_an_exact_value_lies_in_the_interval_that_was_rounded() -> None:
    value = 123.4567891
    forecast = MetricForecast.from_json(MetricForecast(value, value, value).to_json())
    assert forecast.value != value
    found = of(outcome(1, value, (forecast.value, forecast.value, forecast.value)))
    assert found is not None
    assert found.inside == 1


def test_without_forecasts_there_is_no_quality() -> None:
    assert forecast_quality([outcome(1, 3.0)], {1}) is None
    assert forecast_quality([], set()) is None


def test_seconds_are_those_of_whole_trials() -> None:
    outcomes = [
        outcome(1, 5.0, took=10.0),
        outcome(2, 6.0, seconds=10.0, took=20.0),
        outcome(3, 7.0, seconds=10.0, took=1.0, kind=OutcomeKind.PRUNED),
    ]
    found = forecast_quality(outcomes, set())
    assert found is not None
    assert found.metrics == {}
    assert found.seconds is not None
    assert found.seconds.candidates == (2,)
    assert found.seconds.error == found.seconds.mean_error == pytest.approx(0.5)
    assert found.seconds.intervals == 0


def test_seconds_are_without_what_was_measured_again() -> None:
    steps = [
        StepTime("lora", 60.0, True),
        StepTime("genai", 10.0, False),
        StepTime("text:full", 0.0, True),
        StepTime("generation:full", 3.0, False),
        StepTime("generation:full", 3.0, False),
        StepTime("finals", 5.0, False),
        StepTime("text:full", 7.0, False),  # taken over before, and then measured itself
        StepTime("confirm", 5.0, False),
    ]
    assert trial_seconds(steps) == 16.0


def test_chances_are_compared_with_what_was_feasible() -> None:
    outcomes = [
        outcome(1, 5.0, chance=0.9),
        outcome(2, 6.0, chance=0.5, kind=OutcomeKind.INFEASIBLE),
        outcome(3, 7.0, chance=0.5, kind=OutcomeKind.PRUNED),
        outcome(4, 7.0, chance=0.4, kind=OutcomeKind.FAILED),
        outcome(5, 7.0),
        outcome(6, 7.0, chance=0.8, details={"taken_from": 1}),
    ]
    found = forecast_quality(outcomes, {1, 5})
    assert found is not None
    assert found.feasible is not None
    assert (found.feasible.n, found.feasible.expected) == (3, pytest.approx(0.6))
    assert found.feasible.observed == pytest.approx(1 / 3)
    assert found.feasible.brier == pytest.approx((0.01 + 0.25 + 0.16) / 3)


OUTCOMES = st.lists(
    st.builds(
        lambda measured, told, kind, source: outcome(
            1,
            measured,
            None if told is None else (sorted(told)[1], min(told), max(told)),
            kind=kind,
            details={"taken_from": 1} if source else None,
        ),
        st.floats(-1e6, 1e6),
        st.none() | st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3),
        st.sampled_from(list(OutcomeKind)),
        st.booleans(),
    ),
    max_size=12,
).map(lambda found: [replace(o, id=id) for id, o in enumerate(found, start=1)])


@given(OUTCOMES, st.randoms())
def test_the_order_of_the_list_does_not_count(outcomes: list[TrialResult], random: Any) -> None:
    found = of(*outcomes)
    shuffled = list(outcomes)
    random.shuffle(shuffled)
    assert of(*shuffled) == found
    if found is None:
        return
    told = [o for o in outcomes if o.forecast is not None]
    assert {o.id for o in told} >= set(found.candidates)
    assert 0 <= found.inside <= found.intervals == len(found.candidates)
    assert found.error is not None
    assert found.error >= 0


@given(st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=12))
def test_right_forecasts_have_no_error(values: list[float]) -> None:
    found = of(*(outcome(id, v, (v, v, v)) for id, v in enumerate(values, start=1)))
    assert found is not None
    assert (found.error, found.inside) == (0.0, len(values))
    assert found.rank_correlation is None or found.rank_correlation == pytest.approx(1.0)
    assert found.mean_error is not None
    assert found.mean_error >= found.error


def test_what_asking_cost() -> None:
    outcomes = [
        outcome(1, 5.0, took=10.0),
        outcome(2, 5.0, took=30.0, asked_s=0.1),
        outcome(3, 5.0, took=20.0, asked_s=0.4),
        outcome(4, 5.0, took=0.0, asked_s=0.1, ran_job=False),
    ]
    found = ask_seconds(outcomes)
    assert found is not None
    assert (found.trials, found.median_s, found.most_s) == (3, 0.1, 0.4)
    assert found.total_s == pytest.approx(0.6)
    assert found.share == pytest.approx(0.005)
    assert ask_seconds(outcomes[:1]) is None
    alone = ask_seconds(outcomes[3:])
    assert alone is not None
    assert alone.share is None
