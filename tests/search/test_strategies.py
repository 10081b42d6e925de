"""Every registered strategy goes through the same laws."""

import inspect
import sys
from collections.abc import Callable

import pytest

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, TrialResult
from paretune.registry import find, names
from paretune.search.constraints import Objective
from paretune.search.space import PassSlot, Space
from paretune.search.strategies.base import Strategy
from paretune.search.strategies.proposing import choices_of
from paretune.testing.declared import follows
from paretune.testing.strategies import (
    OBJECTIVES,
    SMALL,
    STRATEGY_LAWS,
    Make,
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


def _too_large(stopped_as: OutcomeKind) -> int:
    """Half of the space is too large, and better; who goes there is stopped at its size."""
    strategy = find("strategies", "tpe")(space=TOO_LARGE, objectives=OBJECTIVES, seed=2)
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
        unknown = float("inf") if broken else 0.0  # its accuracy was not looked at
        outcome = TrialResult(id, candidate, kind, measurements=measured)
        strategy.tell(candidate, outcome, violations=(broken, unknown))
        count += bool(broken) and id > 30
    return count


def test_tpe_learns_where_limits_are_broken_from_who_was_stopped() -> None:
    told, untold = _too_large(OutcomeKind.INFEASIBLE), _too_large(OutcomeKind.FAILED)
    assert told < 0.6 * untold


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
