"""What candidates still cost."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.search.strategies.base import PrefixCost
from paretune.search.surrogate.costs import MEASURING, Costs
from paretune.search.trial_state import Trial
from paretune.testing.strategies import SimulatedSearch

SETTINGS = RuntimeSettings("cpu", 1)


def chain(r: int, precision: str, stop: int = 1) -> Candidate:
    train = Step("lora", {"r": r, "stop_at": stop})
    return Candidate((train, Step("genai", {"precision": precision})), SETTINGS)


@dataclass
class Estimated(SimulatedSearch):
    """A view in which the passes give estimates."""

    estimates: dict[str, float | None] = field(default_factory=dict)
    built: set[str] = field(default_factory=set)

    def cost(self, candidate: Candidate) -> tuple[PrefixCost, ...]:
        return tuple(
            PrefixCost(step.name, step.name in self.built, self.estimates.get(step.name))
            for step in candidate.recipe
        )


def view(**estimates: float | None) -> Estimated:
    return Estimated(strategy=None, estimates=estimates)  # type: ignore[arg-type]  # never asked


def result(candidate: Candidate, *seconds: StepTime) -> TrialResult:
    return TrialResult(1, candidate, OutcomeKind.OK, seconds=seconds)


def flat(costs: Costs, learned: list[tuple[str, float, float]], count: int) -> dict[str, tuple]:  # type: ignore[type-arg]
    """Return forecasts that are what was observed."""
    return {name: (np.full(count, value), np.zeros(count)) for name, value, _ in learned}


def test_estimates_count_until_something_was_observed() -> None:
    here = view(lora=100.0, genai=20.0)
    found = Costs().seconds([chain(4, "int4")], {}, here)
    assert found[0] == pytest.approx(120.5)


def test_observed_times_correct_the_estimates_and_built_prefixes_cost_nothing() -> None:
    costs, here = Costs(), view(lora=100.0, genai=20.0)
    steps = StepTime("lora", 50.0, False), StepTime("genai", 20.0, False)
    learned = costs.learn(
        result(chain(4, "int4"), *steps, StepTime("generation:full", 8.0, False)), here
    )
    assert {name for name, _, _ in learned} >= {MEASURING}
    pool = [chain(4, "int8"), chain(8, "int8")]
    found = costs.seconds(pool, flat(costs, learned, 2), here)
    assert found.tolist() == pytest.approx([0.5 + 20 + 8, 0.5 + 50 + 20 + 8])


def test_a_cached_step_tells_nothing_of_its_time() -> None:
    costs, here = Costs(), view(lora=100.0, genai=20.0)
    steps = StepTime("lora", 50.0, True), StepTime("genai", 40.0, False)
    learned = costs.learn(result(chain(4, "int4"), *steps), here)
    assert [name for name, _, _ in learned] == ["seconds of genai by its estimate"]


def test_without_estimates_the_seconds_themselves_are_forecast() -> None:
    costs, here = Costs(), view(lora=None, genai=None)
    steps = StepTime("lora", 50.0, False), StepTime("genai", 20.0, False)
    learned = costs.learn(result(chain(4, "int4"), *steps), here)
    found = costs.seconds([chain(8, "int8")], flat(costs, learned, 1), here)
    assert found[0] == pytest.approx(70.5)


def test_what_a_training_made_cheaper_is_asked_for_again() -> None:
    costs, here = Costs(), view(lora=100.0, genai=0.0)
    further = chain(4, "int4", stop=2)
    before = costs.seconds([further], {}, here)[0]
    here.estimates["lora"] = 40.0  # it continues from the other one's checkpoint
    assert costs.seconds([further], {}, here)[0] == before
    learned = costs.learn(
        result(chain(4, "int4"), StepTime("lora", 100.0, True), StepTime("genai", 5.0, True)), here
    )
    assert learned == []
    assert costs.seconds([further], {}, here)[0] == pytest.approx(40.5)


def test_the_rest_of_a_run_tells_of_the_whole() -> None:
    """Else a training that goes on from where it was would make all others seem cheap."""
    costs, here = Costs(), view(lora=100.0, genai=20.0)
    steps = StepTime("lora", 50.0, False, 0.5), StepTime("genai", 40.0, False)
    learned = costs.learn(result(chain(4, "int4"), *steps), here)
    pool = [chain(8, "int4")]
    assert costs.seconds(pool, flat(costs, learned, 1), here)[0] == pytest.approx(0.5 + 100 + 40)
    almost = StepTime("lora", 1.0, False, 0.99), StepTime("genai", 40.0, False)
    told = costs.learn(result(chain(16, "int4"), *almost), here)
    assert [name for name, _, _ in told] == ["seconds of genai by its estimate"]


def test_what_a_paused_trial_has_built_is_paid() -> None:
    costs, here = Costs(), view(lora=100.0, genai=20.0)
    steps = StepTime("lora", 100.0, False), StepTime("genai", 20.0, False)
    before = costs.seconds([chain(4, "int8")], {}, here)[0]
    costs.note_built(Trial(1, chain(4, "int4"), seconds=steps))
    assert costs.seconds([chain(4, "int8")], {}, here)[0] == pytest.approx(before - 100)
