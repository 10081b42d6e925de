"""In which order a search spends its time, in virtual time: what is cheap first, and all of it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from simulator.problem import Problem, make_problem
from simulator.searching import Simulation
from simulator.tables import Measured, Recipe, exact, timed

from paretune.core.candidate import Candidate
from paretune.core.jsontools import digest
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.result import TrialResult
from paretune.search.jobs import EvaluatorSlot
from paretune.search.space import PassSlot, Space
from paretune.search.strategies.base import Event, Request, View

EXHAUSTIVE_AND_CHAINS = ["exhaustive", "chains"]
ALL = [*EXHAUSTIVE_AND_CHAINS, "random", "nsga2", "tpe"]
BUILD_S, MEASURING_S = 10.0, 12.0
SHORT, LONG = 300.0, 1200.0
BITS = (4, 5, 6, 8, 16, 32)


@dataclass(frozen=True)
class Chains:
    """Trainings of 300 and 1,200 s, each with six builds of 10 s: more bits are better and slower.

    Attributes:
        trainings: Values of a parameter that changes nothing but the adapter.
        hours: Seconds of a training.
    """

    trainings: int = 4
    hours: tuple[float, ...] = (LONG, SHORT)
    noise_floor: float = 0.04
    continued: Mapping[str, str] = field(default_factory=dict)
    name: str = "chains"
    evaluators: ClassVar[tuple[EvaluatorSlot, ...]] = (
        EvaluatorSlot(
            0, "score", {}, (MetricSpec("accuracy", "fraction", "maximize", False),), (Rung.FULL,)
        ),
        EvaluatorSlot(
            1,
            "latency",
            {},
            (MetricSpec("latency_ms_p50", "ms", "minimize", True),),
            (Rung.ROUGH, Rung.FULL),
            processes=3,
        ),
    )

    @property
    def space(self) -> Space:
        grid = {"seed": tuple(range(self.trainings)), "seconds": self.hours}
        return Space((PassSlot("train", grid), PassSlot("build", {"bits": BITS})))

    def distinct(self) -> Iterator[Candidate]:
        return iter(self.space)

    def missing(self, candidate: Candidate) -> str | None:
        return None

    def seconds(self, recipe: Recipe) -> float:
        return BUILD_S if len(recipe) == 2 else float(str(recipe[0].params["seconds"]))

    def estimate(self, recipe: Recipe) -> float | None:
        return self.seconds(recipe)

    def artifact(self, recipe: Recipe) -> str:
        return digest([step.to_json() for step in recipe])

    structure = artifact

    def truth(self, candidate: Candidate) -> dict[str, float]:
        train, build = (step.params for step in candidate.recipe)
        bits = float(str(build["bits"]))
        trained = 0.8 + 0.02 * (train["seconds"] == LONG) + 0.005 * int(str(train["seed"]))
        return {"accuracy": trained - 0.8 / bits, "latency_ms_p50": bits}

    def smoke_seconds(self, candidate: Candidate) -> float:
        return 0.0

    def measure(
        self,
        candidate: Candidate,
        slot: EvaluatorSlot,
        rung: Rung,
        examples: int | None,
        draw: random.Random,
    ) -> Measured:
        truth = self.truth(candidate)
        if slot.name == "latency":
            value = truth["latency_ms_p50"] * draw.lognormvariate(0, 0.01)
            return Measured([timed("latency_ms_p50", "ms", value, 0.005)], MEASURING_S / 6)
        accuracy = truth["accuracy"]
        ends = (accuracy - 0.01, accuracy + 0.01)
        found = Measurement("accuracy", accuracy, "fraction", *ends, 1000, "score-1")
        return Measured([found, exact("size_mb", "MB", truth["latency_ms_p50"])], MEASURING_S / 3)


def problem(table: Chains = Chains(), constraints: tuple[str, ...] = ()) -> Problem:
    return make_problem(
        "p",
        table,
        {
            "objectives": {"accuracy": "maximize", "latency_ms_p50": "minimize"},
            "reference": {"accuracy": 0.4, "latency_ms_p50": 40.0},
            "constraints": constraints,
        },
    )


def search(asked: Problem, strategy: str, **settings: float) -> Simulation:
    made = Simulation(asked, strategy, seed=3, asks=10_000, stop_at=None, **settings)  # type: ignore[arg-type]
    made.run()
    return made


def trained(outcome: TrialResult) -> bool:
    """Return whether a trial ran a training."""
    return any(step.step == "train" and not step.cached for step in outcome.seconds)


def unseen(simulation: Simulation) -> list[Candidate]:
    tried = {o.candidate.digest for o in simulation.recorder.outcomes}
    return [c for c in simulation.problem.space if c.digest not in tried]


@pytest.mark.parametrize("strategy", ALL)
def test_time_that_is_too_short_for_a_training_goes_to_what_is_trained(strategy: str) -> None:
    """After the first training there is no time for another: every build of it is tried."""
    table = Chains(trainings=50, hours=(LONG,))
    found = search(problem(table), strategy, time_s=2 * LONG)
    outcomes = found.recorder.outcomes
    assert sum(map(trained, outcomes)) == 1
    assert len(outcomes) == len(BITS)
    assert found.engine.ended_by() == "time"


@pytest.mark.parametrize("strategy", ALL)
def test_nothing_that_fits_is_left_when_the_search_ends(strategy: str) -> None:
    found = search(problem(), strategy, time_s=3000.0)
    left = 3000.0 - found.clock.now
    for candidate in unseen(found):
        place = found.store.built_steps(candidate.recipe)
        missing = range(place, len(candidate.recipe))
        cost = MEASURING_S + sum(
            found.store.step_seconds(candidate.recipe[: n + 1]) for n in missing
        )
        assert cost > left, f"{left:.0f} s are left, and {candidate} takes {cost:.0f} s"


def test_chains_begins_with_the_cheapest_chain() -> None:
    found = search(problem(), "chains", time_s=4000.0)
    first = found.recorder.outcomes[0]
    assert first.candidate.recipe[0].params["seconds"] == SHORT


@pytest.mark.parametrize("strategy", EXHAUSTIVE_AND_CHAINS)
def test_a_feasible_chain_of_the_first_training_comes_before_the_second(strategy: str) -> None:
    """Only 16 bits meet both limits: of six builds of a training one is feasible."""
    asked = problem(constraints=("accuracy >= 0.74", "latency_ms_p50 <= 20"))
    found = search(asked, strategy, time_s=8000.0)
    outcomes = found.recorder.outcomes
    second = [n for n, o in enumerate(outcomes) if trained(o)][1]
    feasible = found.engine.summary().feasible
    assert any(o.id in feasible for o in outcomes[:second])


class Slow:
    """A strategy that needs a second of the search's time for each proposal."""

    def __init__(self, simulation: Simulation) -> None:
        self._inner, self._clock = simulation.engine.strategy, simulation.clock

    def ask(self, view: View) -> Request | None:
        self._clock.now += 1.0
        return self._inner.ask(view)

    def tell(self, event: Event) -> None:
        self._inner.tell(event)


@pytest.mark.parametrize("strategy", ALL)
def test_a_slow_strategy_that_proposes_what_does_not_fit_is_helped(strategy: str) -> None:
    """One proposal in 3,000 fits, and there is not the time to find it by asking."""
    asked = problem(Chains(trainings=500, hours=(LONG,)))
    made = Simulation(asked, strategy, 3, asks=10_000, stop_at=None, scored=False, time_s=2 * LONG)
    made.engine.strategy = Slow(made)
    made.run()
    outcomes = made.recorder.outcomes
    assert len({o.candidate.recipe[0] for o in outcomes}) == 1
    assert {o.candidate.recipe[1].params["bits"] for o in outcomes} == set(BITS)
    assert len({o.candidate.digest for o in outcomes}) == len(outcomes), "one was tried twice"


def test_chains_proposes_what_fits_at_once() -> None:
    """Of 120 candidates 114 do not fit: it is not asked until they are used up."""
    asked = problem(Chains(trainings=20, hours=(LONG,)))
    made = Simulation(asked, "chains", 3, asks=12, stop_at=None, time_s=2 * LONG)
    made.run()
    assert len(made.recorder.outcomes) == len(BITS)


@pytest.mark.parametrize("time_s", [1.1 * LONG, 1.9 * LONG])
def test_time_that_no_candidate_can_use_is_for_the_finalists(time_s: float) -> None:
    """`finals` is 60 s; the time that is left is more, and no other training ends in it."""
    asked = problem(Chains(trainings=2, hours=(LONG,)))
    found = search(asked, "exhaustive", time_s=time_s, finals_s=60.0)
    budget = found.engine.time_budget
    budget.all_for_finals()
    left = budget.left()
    assert left is not None
    assert budget.for_finalists() == max(60.0, left)
    whole = search(asked, "exhaustive", time_s=100 * LONG, finals_s=60.0)
    assert whole.engine.time_budget.for_finalists() == 60.0
