"""Every registered strategy goes through the same laws."""

import inspect
import sys
from collections.abc import Callable
from typing import Any

import pytest

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, TrialResult
from paretune.registry import find, names
from paretune.search.constraints import Objective
from paretune.search.space import AnyOf, Chain, PassSlot, Space
from paretune.search.strategies.base import Strategy
from paretune.search.strategies.proposing import choices_of

OBJECTIVES = (Objective("accuracy", "maximize"), Objective("size_mb", "minimize"))
SMALL = Space(
    (
        PassSlot("lora", {"r": (4, 8, 16)}),
        PassSlot("merge", optional=True),
        AnyOf(
            (
                PassSlot("genai", {"precision": ("fp32", "int8")}),
                Chain(
                    (
                        PassSlot("genai", {"precision": ("fp32",)}),
                        PassSlot("nbits", {"bits": (4, 8)}),
                    )
                ),
            )
        ),
    ),
    ("cpu",),
    (1, 2),
)
LARGE = Space((PassSlot("p", {f"x{i}": tuple(range(10)) for i in range(12)}),))


def outcome_of(candidate: Candidate, id: int) -> TrialResult:
    r = candidate.recipe[0].params.get("r", 0) if candidate.recipe else 0
    accuracy = 0.5 + r / 100 - 0.1 * ("nbits" in [s.name for s in candidate.recipe])
    measured = {
        "accuracy": Measurement("accuracy", accuracy, "fraction"),
        "size_mb": Measurement("size_mb", 100.0 * len(candidate.recipe), "MB"),
    }
    if id % 5 == 3:
        return TrialResult(id, candidate, OutcomeKind.FAILED, reason="as it happens")
    return TrialResult(id, candidate, OutcomeKind.OK, measurements=measured)


def drive(strategy: Strategy, asks: int, already: int = 0) -> list[tuple[Candidate, TrialResult]]:
    done = []
    for id in range(already + 1, already + asks + 1):
        candidate = strategy.ask()
        if candidate is None:
            break
        outcome = outcome_of(candidate, id)
        strategy.tell(candidate, outcome, violations=(0.0, 0.2 * (id % 2)))
        done.append((candidate, outcome))
    return done


@pytest.fixture(params=names("strategies"))
def make(request: pytest.FixtureRequest) -> Callable[..., Strategy]:
    kind = find("strategies", request.param)

    def made(space: Space = SMALL, seed: int = 0, first: Any = ()) -> Strategy:
        strategy: Strategy = kind(space=space, objectives=OBJECTIVES, seed=seed, first=first)
        return strategy

    return made


def test_it_is_a_strategy(make: Callable[..., Strategy]) -> None:
    assert isinstance(make(), Strategy)


def test_everything_once_and_then_nothing(make: Callable[..., Strategy]) -> None:
    seen = [candidate for candidate, _ in drive(make(), 1000)]
    assert len(seen) == len(set(seen)) == SMALL.size
    assert set(seen) == set(SMALL)


def test_what_was_told_is_not_proposed(make: Callable[..., Strategy]) -> None:
    strategy = make()
    told = [SMALL.at(0), SMALL.at(7)]
    for id, candidate in enumerate(told, start=1):
        strategy.tell(candidate, outcome_of(candidate, id))
    seen = [candidate for candidate, _ in drive(strategy, 1000)]
    assert len(seen) == SMALL.size - 2
    assert not set(told) & set(seen)


def test_first_come_first_inside_the_space_or_not(make: Callable[..., Strategy]) -> None:
    outside = Candidate((Step("genai", {"precision": "fp32"}),), RuntimeSettings("cpu", 9))
    first = [outside, SMALL.at(5)]
    seen = [candidate for candidate, _ in drive(make(first=first), 1000)]
    assert seen[:2] == first
    assert len(seen) == len(set(seen)) == SMALL.size + 1


@pytest.mark.parametrize("stopped_after", [1, 7, 13, 20])
def test_resumed_it_goes_on_as_the_undisturbed_one(
    make: Callable[..., Strategy], stopped_after: int
) -> None:
    first = [SMALL.at(3)]
    whole = drive(make(first=first), 26)
    resumed = make(first=first)
    for candidate, outcome in whole[:stopped_after]:
        resumed.tell(candidate, outcome, violations=(0.0, 0.2 * (outcome.id % 2)))
    rest = drive(resumed, 26 - stopped_after, already=stopped_after)
    assert [c for c, _ in whole[:stopped_after] + rest] == [c for c, _ in whole]


def test_a_huge_space_is_not_listed(make: Callable[..., Strategy]) -> None:
    seen = [candidate for candidate, _ in drive(make(LARGE), 15)]
    assert len(set(seen)) == 15


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


@pytest.mark.parametrize("kind", [OutcomeKind.INFEASIBLE, OutcomeKind.FAILED])
@pytest.mark.parametrize("name", names("strategies"))
def test_who_has_no_value_at_all_is_taken(name: str, kind: OutcomeKind) -> None:
    strategy = find("strategies", name)(space=TOO_LARGE, objectives=OBJECTIVES, seed=2)
    for id in range(1, 40):
        candidate = strategy.ask()
        strategy.tell(
            candidate, TrialResult(id, candidate, kind, measurements={}), violations=(0.4,)
        )
    assert strategy.ask() is not None


def test_nsga2_goes_on_after_thousands_of_results() -> None:
    """A proposal costs what it cost at first, and looks no deeper: not back to the first ones."""
    space = Space((PassSlot("p", {f"x{i}": tuple(range(7)) for i in range(4)}),))
    strategy = find("strategies", "nsga2")(space=space, objectives=OBJECTIVES, seed=1)
    for id in range(1, 1801):  # 150 generations
        candidate = space.at(id)
        strategy.tell(candidate, outcome_of(candidate, id), violations=(0.1 * (id % 3),))
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
