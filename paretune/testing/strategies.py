"""What every strategy keeps to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, TrialResult
from paretune.registry import find
from paretune.search.constraints import Objective
from paretune.search.space import AnyOf, Chain, PassSlot, Space
from paretune.search.strategies.base import Strategy
from paretune.testing.declared import follows

Make = Callable[..., Strategy]
OBJECTIVES = (Objective("accuracy", "maximize"), Objective("size_mb", "minimize"))
_FP32 = PassSlot("genai", {"precision": ("fp32",)})
SMALL = Space(
    (
        PassSlot("lora", {"r": (4, 8, 16)}),
        PassSlot("merge", optional=True),
        AnyOf(
            (
                PassSlot("genai", {"precision": ("fp32", "int8")}),
                Chain((_FP32, PassSlot("nbits", {"bits": (4, 8)}))),
            )
        ),
    ),
    ("cpu",),
    (1, 2),
)
"""A space that is searched to its end."""
LARGE = Space((PassSlot("p", {f"x{i}": tuple(range(10)) for i in range(12)}),))
"""A space that no strategy may list."""


def check_strategy(name: str) -> None:
    """Check a registered strategy on spaces of its own; nothing is built.

    Args:
        name: As it is registered.

    Raises:
        AssertionError: Something that every strategy keeps to does not hold.
    """
    make = maker(name)
    follows(make(), Strategy, name)
    for law in STRATEGY_LAWS:
        law(make)


def maker(name: str) -> Make:
    """Return a function that makes a registered strategy, by default for `SMALL`.

    Args:
        name: As it is registered.
    """
    kind = find("strategies", name)

    def make(space: Space = SMALL, seed: int = 0, first: Sequence[Candidate] = ()) -> Strategy:
        made: Strategy = kind(space=space, objectives=OBJECTIVES, seed=seed, first=first)
        return made

    return make


def result_of(candidate: Candidate, id: int) -> TrialResult:
    """Return how a candidate ends: every fifth one fails, the others have both metrics.

    Args:
        candidate: What was tried.
        id: Its number.
    """
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
    """Ask for candidates and report a result of each, until none is left.

    Args:
        strategy: Which one.
        asks: How often at most.
        already: How many trials were reported to it before.
    """
    done = []
    for id in range(already + 1, already + asks + 1):
        candidate = strategy.ask()
        if candidate is None:
            break
        outcome = result_of(candidate, id)
        strategy.tell(candidate, outcome, violations=(0.0, 0.2 * (id % 2)))
        done.append((candidate, outcome))
    return done


def _proposed(strategy: Strategy, asks: int = 1000) -> list[Candidate]:
    seen = [candidate for candidate, _ in drive(strategy, asks)]
    assert len(seen) == len(set(seen)), "a candidate is proposed twice"
    return seen


def proposes_all_once(make: Make) -> None:
    """Require that everything is proposed once, and then nothing."""
    assert set(_proposed(make())) == set(SMALL), "what is proposed is not the whole space"


def remembers_results(make: Make) -> None:
    """Require that a candidate whose result was reported first is not proposed."""
    strategy = make()
    told = [SMALL.at(0), SMALL.at(7)]
    for id, candidate in enumerate(told, start=1):
        strategy.tell(candidate, result_of(candidate, id))
    assert set(_proposed(strategy)) == set(SMALL) - set(told), (
        "a candidate whose result was reported is proposed again"
    )


def begins_with_the_first(make: Make) -> None:
    """Require that candidates that come first do so, inside the space or not."""
    outside = Candidate((Step("genai", {"precision": "fp32"}),), RuntimeSettings("cpu", 9))
    first = [outside, SMALL.at(5)]
    seen = _proposed(make(first=first))
    assert seen[:2] == first, f"it began with {seen[:2]}"
    assert set(seen) == {*SMALL, outside}, "the others are not the whole space"


def resumes(make: Make) -> None:
    """Require that it goes on after a restart as the undisturbed one does."""
    first = [SMALL.at(3)]
    whole = drive(make(first=first), 26)
    for stop in (1, 7, 13, 20):
        resumed = make(first=first)
        for candidate, outcome in whole[:stop]:
            resumed.tell(candidate, outcome, violations=(0.0, 0.2 * (outcome.id % 2)))
        rest = drive(resumed, 26 - stop, already=stop)
        assert [c for c, _ in rest] == [c for c, _ in whole[stop:]], (
            f"resumed after {stop} trials, it goes on otherwise"
        )


def lists_no_huge_space(make: Make) -> None:
    """Require that a space of 10^12 candidates is searched without being listed."""
    assert len(_proposed(make(LARGE), 15)) == 15, "a huge space ends early"


def takes_missing_values(make: Make) -> None:
    """Require that it goes on where no candidate has any value."""
    for kind in (OutcomeKind.INFEASIBLE, OutcomeKind.FAILED):
        strategy = make(LARGE, seed=2)
        for id in range(1, 40):
            candidate = strategy.ask()
            assert candidate is not None, f"it ends after {id - 1} trials that are {kind}"
            strategy.tell(candidate, TrialResult(id, candidate, kind), violations=(0.4,))


STRATEGY_LAWS = (
    proposes_all_once,
    remembers_results,
    begins_with_the_first,
    resumes,
    lists_no_huge_space,
    takes_missing_values,
)
"""What is required of every strategy, of which each takes a function that makes one."""
