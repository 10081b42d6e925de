"""Energy per token: what is counted, over which tokens, and what is kept with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from paretune.core.details import Details
from paretune.core.energy import EnergyUse, NoEnergyCounterError
from paretune.core.measurement import Measurement, Rung
from paretune.core.model import Model
from paretune.evaluators.base import Budget
from paretune.evaluators.generation import energy
from paretune.evaluators.generation.energy import EnergyPerToken
from paretune.evaluators.generation.generation import Generation
from paretune.evaluators.generation.timing import (
    TURNS,
    Effort,
    effort_of,
    sample,
    sample_in_turns,
    sample_together,
)
from paretune.evaluators.generation.workload import Case, GenerationParams
from paretune.stats.pooling import pool
from paretune.study.measurement_notes import remarks
from tests.model_fixtures import Measure

CASE = Case(0, 4, 5, "")
FEW = Effort(2, 0.0, 3, 0.0, 60.0)


class Meter:
    """Counts a joule for each call that happened while it ran."""

    source = "a counter"
    least_s = 0.0

    def __init__(self, calls: list[int] | None = None, reason: str | None = None) -> None:
        self.calls = [] if calls is None else calls
        self.reason = reason
        self.counted: float = 0.0
        self.seconds = 0.0
        self.runs = 0
        self.begun: int | None = None

    @property
    def joules(self) -> float | None:
        return None if self.reason else self.counted

    def start(self) -> None:
        assert self.begun is None
        self.begun = len(self.calls)
        self.runs += 1

    def stop(self) -> None:
        if self.begun is not None:
            self.counted += len(self.calls) - self.begun
            self.seconds += 2.0
            self.begun = None


class Turns:
    """Nobody else waits."""

    @contextmanager
    def turn(self) -> Iterator[None]:
        yield


def calls() -> tuple[list[int], Callable[[], int]]:
    made: list[int] = []

    def once() -> int:
        made.append(1)
        return len(made)

    return made, once


def test_the_warm_up_is_not_counted() -> None:
    made, once = calls()
    meter = Meter(made)
    run = sample(once, FEW, meter)
    assert (len(run.warm_up), len(run.kept)) == (2, 3)
    assert meter.counted == run.metered == 3
    assert meter.begun is None


def test_each_call_of_a_turn_is_counted_and_the_time_between_turns_is_not() -> None:
    made, once = calls()
    meter = Meter(made)
    run = sample_in_turns(once, replace(FEW, seconds=0.02), Turns(), meter)
    assert meter.runs == TURNS
    assert meter.counted == run.metered > len(run.kept), "the first call of a turn is not timed"


def test_streams_are_counted_together_until_the_last_has_ended() -> None:
    made, once = calls()
    meter = Meter(made)
    runs = sample_together([once, once], FEW, meter)
    assert meter.runs == 1
    assert sum(run.metered for run in runs) == sum(len(r.kept) + r.cut_off for r in runs)
    assert meter.counted == sum(run.metered for run in runs)


@pytest.mark.parametrize("streams", [1, 2])
def test_a_meter_is_stopped_where_a_call_fails(streams: int) -> None:
    meter = Meter()

    def fails() -> int:
        if meter.runs:
            raise RuntimeError("no more")
        return 0

    with pytest.raises(RuntimeError, match="no more"):
        sample_together([fails] * streams, FEW, meter)
    assert meter.runs == 1
    assert meter.begun is None


def measured(meter: Meter, requests: int, idle: Meter | None = None) -> Measurement:
    made = [meter] if idle is None else [meter, idle]
    found = EnergyPerToken(CASE, Details(new_tokens=5), "", Budget(meter=lambda names: made.pop(0)))
    if idle is not None:
        found.measure_idle()
    return found.measurement(requests)


def test_the_value_is_joules_per_decoded_token_with_idle_power_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(energy, "_IDLE_S", 0.0)
    meter, idle = Meter(), Meter()
    meter.counted, meter.seconds = 30.0, 4.0
    idle.counted = 6.0  # within the 2 s of its only run
    m = measured(meter, 3, idle)
    assert m.value == 30.0 / (3 * 5)
    assert (m.unit, m.n, m.samples) == ("J", 1, (2.0,))
    use = m.details.part(EnergyUse)
    assert use == EnergyUse("a counter", 30.0, 4.0, 15, 7.5, 3.0)
    assert m.details.new_tokens == 5
    assert Measurement.from_json(m.to_json()).details.part(EnergyUse) == use
    assert remarks(m)[0] == (
        "energy of a counter: 7.5 W while requests ran, of which 3 W when nothing runs"
    )


def test_without_a_value_the_meters_reason_is_given() -> None:
    m = measured(Meter(reason="the counter did not move"), 3)
    assert (m.value, m.reason) == (None, "the counter did not move")


def test_without_a_meter_there_is_no_value() -> None:
    def none_here(names: str) -> Any:
        raise NoEnergyCounterError(f"no counter {names!r}", hint="Buy one.")

    gone = EnergyPerToken(CASE, Details(), "rapl", Budget(meter=none_here))
    assert gone.meter is None
    gone.measure_idle()
    assert gone.lengthened(FEW) == FEW
    assert gone.measurement(3).reason == "no counter 'rapl'"
    assert EnergyPerToken(CASE, Details(), "", Budget()).measurement(3).reason is not None


def test_processes_are_pooled_as_those_of_any_speed() -> None:
    values = [10.0, 11.0, 10.5]
    blocks = []
    for joules in values:
        meter = Meter()
        meter.counted, meter.seconds = joules, 2.0
        blocks.append({"energy_per_token_j": measured(meter, 2)})
    pooled = pool(blocks)["energy_per_token_j"]
    assert pooled.value == 1.05
    assert pooled.low is not None
    assert pooled.high is not None
    assert pooled.low < 1.05 < pooled.high
    assert pooled.details.part(EnergyUse) is not None


def test_sampling_lasts_as_long_as_the_meter_needs() -> None:
    slow = Meter()
    slow.least_s = 4.0
    found = EnergyPerToken(CASE, Details(), "", Budget(meter=lambda names: slow))
    for rung in Rung:
        effort = found.lengthened(effort_of(rung, None))
        assert effort.at_most_s >= effort.seconds > 4.0
    quick = EnergyPerToken(CASE, Details(), "", Budget(meter=lambda names: Meter()))
    assert quick.lengthened(effort_of(Rung.FULL, None)) == effort_of(Rung.FULL, None)


@pytest.mark.parametrize(
    ("given", "sources"),
    [
        (False, None),
        (True, ""),
        ("rapl", "rapl"),
        ("rapl+nvidia", "rapl+nvidia"),
        ("hwmon:ina219@1-0041/power1", "hwmon:ina219@1-0041/power1"),
    ],
)
def test_the_parameter_names_the_counters(given: Any, sources: str | None) -> None:
    evaluator = Generation(GenerationParams(prompt_tokens=[4, 8], energy=given))
    assert evaluator.energy_sources == sources
    named = [spec for spec in evaluator.metrics if "energy" in spec.name]
    if sources is None:
        assert not named
        return
    assert [spec.name for spec in named] == ["energy_per_token_j", "energy_per_token_j@8"]
    assert {(spec.unit, spec.direction, spec.device) for spec in named} == {("J", "minimize", True)}


@pytest.mark.parametrize("wrong", ["", "joule", "rapl,nvidia", "rapl+", "hwmon:"])
def test_another_text_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError, match="expected true, false or counters"):
        GenerationParams(energy=wrong)


def test_of_a_real_model_each_metric_comes(measure: Measure, tiny: Model) -> None:
    meters: list[Meter] = []

    def opened(names: str) -> Meter:
        meters.append(Meter())
        meters[-1].counted = 12.0
        return meters[-1]

    params = {"prompt_tokens": [4, 8], "new_tokens": 4, "energy": True}
    budget = Budget(seconds=0.02, block=True, meter=opened)
    found = measure("generation", params, tiny, budget=budget)
    for name in ("energy_per_token_j", "energy_per_token_j@8"):
        use = found[name].details.part(EnergyUse)
        assert use is not None
        assert use.idle_w is None, "the first process of a candidate measures it"
        assert found[name].value == 12.0 / use.tokens
        assert use.tokens % 4 == 0
    assert [meter.runs for meter in meters] == [1, 1]
