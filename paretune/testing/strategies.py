"""What every strategy must do; a proposer is checked as a strategy that runs whole trials."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.result import OutcomeKind, TrialResult
from paretune.registry import find
from paretune.search.constraints import Limit, Objective
from paretune.search.priors import Prior
from paretune.search.space import AnyOf, Chain, PassSlot, Space
from paretune.search.strategies.base import (
    Built,
    Ended,
    Measured,
    PrefixCost,
    Promote,
    Proposer,
    Start,
    Strategy,
)
from paretune.search.strategies.full_trials import as_strategy, rebuild
from paretune.search.trial_state import Trial, rung_number
from paretune.testing.declared import follows

Make = Callable[..., Strategy | Proposer]
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
        AssertionError: Something that every strategy must do does not hold.
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

    def make(
        space: Space = SMALL, seed: int = 0, first: Sequence[Candidate] = ()
    ) -> Strategy | Proposer:
        made: Strategy | Proposer = kind(space=space, objectives=OBJECTIVES, seed=seed, first=first)
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


@dataclass
class SimulatedSearch:
    """A search without jobs: it does at once what a strategy asks for, and is its view.

    Attributes:
        strategy: What is asked.
        space: What may be proposed.
        already: How many trials were reported to the strategy before.
        result: Returns how a candidate ends, by its number.
        violations: Of each constraint, by the trial's number.
        trials: Trials that are paused, by number.
        started: Candidates, in the order in which they were started.
        done: Candidates that ended, with their results.
        free_slots: How many more builds can begin.
        limits: The constraints in force.
        left_s: Seconds that are left.
        may_start: Whether another trial may begin.
        priors: Earlier studies.
    """

    strategy: Strategy
    space: Space = SMALL
    already: int = 0
    result: Callable[[Candidate, int], TrialResult] = result_of
    violations: Callable[[int], tuple[float, ...]] = lambda id: (0.0, 0.2 * (id % 2))
    trials: dict[int, Trial] = field(default_factory=dict)
    started: list[Candidate] = field(default_factory=list)
    done: list[tuple[Candidate, TrialResult]] = field(default_factory=list)
    free_slots: int = 1
    limits: tuple[Limit, ...] = ()
    left_s: float | None = None
    may_start: bool = True
    priors: tuple[Prior, ...] = ()

    @property
    def metrics(self) -> tuple[MetricSpec, ...]:
        """What is measured: an accuracy, and a size that depends on the device."""
        return (
            MetricSpec("accuracy", "fraction", "maximize", device=False),
            MetricSpec("size_mb", "MB", "minimize", device=True),
        )

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds, of which none pass: nothing runs."""
        return lambda: 0.0

    @property
    def paused(self) -> list[int]:
        """Numbers of the trials that can be promoted, ascending."""
        return sorted(self.trials)

    def fits(self, candidate: Candidate) -> bool:
        """Return that there is time for every candidate."""
        del candidate
        return True

    def cost(self, candidate: Candidate) -> tuple[PrefixCost, ...]:
        """Return that nothing is known of any prefix."""
        return tuple(PrefixCost(step.name, built=False) for step in candidate.recipe)

    def run(self, starts: int = 1000) -> SimulatedSearch:
        """Do what the strategy asks for until it started so many candidates, or has no request."""
        while len(self.started) < starts and self.step():
            pass
        return self

    def step(self) -> bool:
        """Do what the strategy asks for next; False if it asks for nothing."""
        request = self.strategy.ask(self)
        if request is None:
            return False
        if isinstance(request, Start):
            self.started.append(request.candidate)
            id = self.already + len(self.started)
            trial = Trial(id, request.candidate, artifact=f"sha256:{id}")
            self.strategy.tell(Built(trial))
        else:
            assert isinstance(request, Promote), f"{request!r} is not a Start, a Promote or None"
            assert request.trial in self.trials, f"trial {request.trial} is not paused"
            trial = self.trials.pop(request.trial)
        result = self.result(trial.candidate, trial.id)
        if request.until is Rung.FULL or result.kind is not OutcomeKind.OK:
            self.strategy.tell(Ended(result, self.violations(trial.id)))
            self.done.append((trial.candidate, result))
            return True
        for rung in Rung:
            if rung_number(rung) <= rung_number(request.until) and not trial.reached(rung):
                known = {**trial.measured, rung: dict(result.measurements or {})}
                trial = replace(trial, measured=known)
                self.strategy.tell(Measured(trial))
        self.trials[trial.id] = trial
        return True

    def resumed(self, strategy: Strategy) -> SimulatedSearch:
        """Return the search with a new strategy that received what this one has yielded."""
        _tell(strategy, self.done)
        rebuild(strategy, (), [self.trials[id] for id in self.paused])
        return replace(
            self,
            strategy=strategy,
            trials=dict(self.trials),
            started=list(self.started),
            done=list(self.done),
        )


def drive(
    strategy: Strategy | Proposer, asks: int, already: int = 0
) -> list[tuple[Candidate, TrialResult]]:
    """Run the trials that a strategy asks for; returns those that ended.

    Args:
        strategy: Which one.
        asks: How many candidates it may start.
        already: How many trials were reported to it before.
    """
    return SimulatedSearch(as_strategy(strategy), already=already).run(asks).done


def _started(
    strategy: Strategy | Proposer, space: Space = SMALL, most: int = 1000
) -> list[Candidate]:
    seen = SimulatedSearch(as_strategy(strategy), space).run(most).started
    assert len(seen) == len(set(seen)), "a candidate is proposed twice"
    return seen


def _tell(strategy: Strategy, done: Iterable[tuple[Candidate, TrialResult]]) -> None:
    rebuild(strategy, (Ended(result, (0.0, 0.2 * (result.id % 2))) for _, result in done))


def proposes_all_once(make: Make) -> None:
    """Require that everything is proposed once, and then nothing."""
    assert set(_started(make())) == set(SMALL), "what is proposed is not the whole space"


def remembers_results(make: Make) -> None:
    """Require that a candidate whose result was reported first is not proposed."""
    strategy = as_strategy(make())
    reported = [SMALL.at(0), SMALL.at(7)]
    _tell(strategy, [(c, result_of(c, id)) for id, c in enumerate(reported, start=1)])
    assert set(_started(strategy)) == set(SMALL) - set(reported), (
        "a candidate whose result was reported is proposed again"
    )


def begins_with_the_first(make: Make) -> None:
    """Require that candidates that come first do so, inside the space or not."""
    outside = Candidate((Step("genai", {"precision": "fp32"}),), RuntimeSettings("cpu", 9))
    first = [outside, SMALL.at(5)]
    seen = _started(make(first=first))
    assert seen[:2] == first, f"it began with {seen[:2]}"
    assert set(seen) == {*SMALL, outside}, "the others are not the whole space"


def resumes(make: Make) -> None:
    """Require that it continues after a restart as the undisturbed one does."""
    first = [SMALL.at(3)]
    whole = SimulatedSearch(as_strategy(make(first=first))).run(26)
    for stop in (1, 7, 13, 20):
        before = SimulatedSearch(as_strategy(make(first=first))).run(stop)
        after = before.resumed(as_strategy(make(first=first))).run(26)
        assert after.started == whole.started, f"resumed after {stop} trials, it differs"


def lists_no_huge_space(make: Make) -> None:
    """Require that a space of 10^12 candidates is searched without being listed."""
    assert len(_started(make(LARGE), LARGE, 15)) == 15, "a huge space ends early"


def takes_missing_values(make: Make) -> None:
    """Require that it continues where no candidate has any value."""
    for kind in (OutcomeKind.INFEASIBLE, OutcomeKind.FAILED):
        search = SimulatedSearch(
            as_strategy(make(LARGE, seed=2)),
            LARGE,
            result=lambda candidate, id, kind=kind: TrialResult(id, candidate, kind),  # type: ignore[misc]
            violations=lambda id: (0.4,),
        ).run(39)
        count = len(search.started)
        assert count == 39, f"it ends after {count} trials that are {kind}"


STRATEGY_LAWS = (
    proposes_all_once,
    remembers_results,
    begins_with_the_first,
    resumes,
    lists_no_huge_space,
    takes_missing_values,
)
"""What is required of every strategy, of which each takes a function that makes one."""
