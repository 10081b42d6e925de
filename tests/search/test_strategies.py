"""Every registered strategy goes through the same laws."""

import inspect
import sys
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_spaces import spaces

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, TrialResult
from paretune.registry import find, names
from paretune.search.constraints import Objective
from paretune.search.space import AnyOf, PassSlot, Space
from paretune.search.strategies.base import Strategy
from paretune.search.strategies.full_trials import as_strategy
from paretune.search.strategies.proposing import choices_of
from paretune.testing.declared import follows
from paretune.testing.strategies import (
    OBJECTIVES,
    SMALL,
    STRATEGY_LAWS,
    Make,
    SimulatedSearch,
    drive,
    maker,
    result_of,
)


@pytest.mark.parametrize("name", names("strategies"))
@pytest.mark.parametrize("law", STRATEGY_LAWS, ids=lambda law: law.__name__)
def test_it_keeps(name: str, law: Callable[[Make], None]) -> None:
    follows(maker(name)(), Strategy, name)
    law(maker(name))


@pytest.mark.parametrize("name", ["random", "nsga2", "tpe"])
def test_another_seed_gives_another_order(name: str) -> None:
    kind = find("strategies", name)
    orders = [
        [c for c, _ in drive(kind(space=SMALL, objectives=OBJECTIVES, seed=seed), 10)]
        for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("name", ["nsga2", "tpe"])
def test_a_sampler_learns(name: str) -> None:
    """With one good value among ten, a sampler finds it more often than chance would."""
    space = Space((PassSlot("p", {f"x{i}": tuple(range(10)) for i in range(4)}),))
    objectives = (Objective("accuracy", "maximize"),)
    strategy = find("strategies", name)(space=space, objectives=objectives, seed=1)
    values = []
    for id in range(1, 121):
        candidate = strategy.ask()
        value = -sum(abs(v - 3) for v in candidate.recipe[0].params.values())
        values.append(value)
        measured = {"accuracy": Measurement("accuracy", float(value), "fraction")}
        strategy.tell(candidate, TrialResult(id, candidate, OutcomeKind.OK, measurements=measured))
    assert sum(values[-30:]) / 30 > sum(values[:12]) / 12 + 2


TOO_LARGE = Space((PassSlot("p", {f"x{i}": tuple(range(6)) for i in range(6)}),))


def _too_large(name: str, stopped_as: OutcomeKind, unknown: float = float("inf")) -> int:
    """Half of the space is too large, and better; who goes there is stopped at its size."""
    strategy = find("strategies", name)(space=TOO_LARGE, objectives=OBJECTIVES, seed=2)
    count = 0
    for id in range(1, 81):
        candidate = strategy.ask()
        params = candidate.recipe[0].params
        broken = max(0.0, (1 + params["x0"]) / 3 - 1)
        size = 100.0 * (1 + params["x0"])
        measured = {"size_mb": Measurement("size_mb", size, "MB", size, size, 1, "exact-1")}
        if not broken:
            accuracy = 0.5 + params["x1"] / 50
            measured["accuracy"] = Measurement("accuracy", accuracy, "fraction")
        kind = stopped_as if broken else OutcomeKind.OK
        rest = unknown if broken else 0.0  # its accuracy was not looked at
        outcome = TrialResult(id, candidate, kind, measurements=measured)
        known = broken if stopped_as is OutcomeKind.INFEASIBLE else 0.0
        strategy.tell(candidate, outcome, violations=(known, rest))
        count += bool(broken) and id > 30
    return count


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
@pytest.mark.parametrize("stopped_as", [OutcomeKind.INFEASIBLE, OutcomeKind.FAILED])
def test_a_sampler_learns_where_nothing_works_from_who_was_stopped(
    name: str, stopped_as: OutcomeKind
) -> None:
    told, untold = _too_large(name, stopped_as), _too_large("random", stopped_as)
    assert told < 0.6 * untold


INSIDE = Space(
    (
        AnyOf(
            (
                PassSlot("a", {"x": tuple(range(20)), "y": tuple(range(20))}),
                PassSlot("b", {"x": tuple(range(20)), "y": tuple(range(20))}, optional=True),
            )
        ),
    )
)


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_a_sampler_learns_inside_an_alternative(name: str) -> None:
    """Only `b` is any good, and best at one value of each: near ones are better than far ones."""
    objectives = (Objective("accuracy", "maximize"),)
    values = []
    strategy = find("strategies", name)(space=INSIDE, objectives=objectives, seed=0)
    for id in range(1, 141):
        candidate = strategy.ask()
        step = candidate.recipe[0] if candidate.recipe else Step("none")
        value = -60.0
        if step.name == "b":
            value = -float(abs(step.params["x"] - 13) + abs(step.params["y"] - 4))
        values.append(value)
        measured = {"accuracy": Measurement("accuracy", value, "fraction")}
        strategy.tell(candidate, TrialResult(id, candidate, OutcomeKind.OK, measurements=measured))
    assert sum(values[-30:]) / 30 > -28  # at random: -35


@settings(max_examples=8)
@given(spaces.filter(lambda space: space.size <= 60), st.integers(0, 9))
@pytest.mark.parametrize("name", ["exhaustive", "random", "nsga2", "tpe"])
def test_it_goes_through_any_space_once_and_resumes(name: str, space: Space, stop: int) -> None:
    def begun() -> SimulatedSearch:
        made = find("strategies", name)(space=space, objectives=OBJECTIVES, seed=4, first=())
        return SimulatedSearch(as_strategy(made), space)

    whole = begun().run(30)
    assert len(set(whole.started)) == len(whole.started)
    assert len(whole.started) == min(30, len(set(space)))
    again = begun().run(stop).resumed(begun().strategy).run(30)
    assert again.started == whole.started


def test_nsga2_goes_on_after_thousands_of_results() -> None:
    """A proposal costs what it cost at first, and looks no deeper: not back to the first ones."""
    space = Space((PassSlot("p", {f"x{i}": tuple(range(7)) for i in range(4)}),))
    strategy = find("strategies", "nsga2")(space=space, objectives=OBJECTIVES, seed=1)
    for id in range(1, 1801):  # 150 generations
        candidate = space.at(id)
        strategy.tell(candidate, result_of(candidate, id), violations=(0.1 * (id % 3),))
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 250)
    try:
        assert strategy.ask() is not None
    finally:
        sys.setrecursionlimit(before)
    assert len(strategy._trials) + len(strategy._parents) <= 2 * strategy.population


def test_exhaustive_goes_on_from_what_the_first_ones_built() -> None:
    first = [SMALL.at(SMALL.size - 1)]  # r=16
    strategy = find("strategies", "exhaustive")(
        space=SMALL, objectives=OBJECTIVES, seed=0, first=first
    )
    order = [candidate.recipe[0].params["r"] for candidate, _ in drive(strategy, 1000)]
    assert order == sorted(order, key=[16, 4, 8].index)


def test_choices_name_the_way_to_a_candidate() -> None:
    candidate = Candidate(
        (Step("lora", {"r": 8}), Step("genai", {"precision": "fp32"}), Step("nbits", {"bits": 8})),
        RuntimeSettings("cpu", 2),
    )
    found = choices_of(SMALL, candidate)
    assert found is not None
    assert found[0] == {
        "0.lora.r": "8",
        "1.merge": "without",
        "2.any": "1 genai",
        "2.any1.0.genai.precision": '"fp32"',
        "2.any1.1.nbits.bits": "8",
        "runtime.provider": "cpu",
        "runtime.threads": "2",
    }
    assert choices_of(SMALL, Candidate(())) is None
