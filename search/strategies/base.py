"""The contract of a strategy: it is asked what to do next, and receives what happened.

A strategy works on trials. It starts the trial of a candidate, up to a rung that it names; a trial
that has reached this rung is paused, with its artifact and measurements on disk, until the strategy
promotes it to a higher rung. A trial that is still paused when the search ends is `pruned`.

A strategy that never pauses a trial is a `Proposer`: it names the next candidate and receives the
result. `paretune.search.strategies.full_trials` makes a `Strategy` of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

from paretune.core.candidate import Candidate
from paretune.core.measurement import MetricSpec, Rung
from paretune.core.result import TrialResult
from paretune.core.trial_forecast import TrialForecast
from paretune.search.constraints import Limit, Objective
from paretune.search.priors import Prior
from paretune.search.space import Space
from paretune.search.trial_state import Trial


@dataclass(frozen=True)
class Start:
    """Build a candidate, and measure it up to a rung.

    Attributes:
        candidate: One that was neither started nor reported before.
        until: The rung after which the trial is paused, unless there is none above it. The
            baseline is always measured up to its last rung.
        forecast: What the strategy expects of it; None: it does not say. It is kept with the
            outcome, and the report says how good the forecasts were.
    """

    candidate: Candidate
    until: Rung = Rung.FULL
    forecast: TrialForecast | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Promote:
    """Continue a paused trial.

    Attributes:
        trial: Its number.
        until: The rung after which it is paused again.
    """

    trial: int
    until: Rung = Rung.FULL


Request: TypeAlias = Start | Promote


@dataclass(frozen=True)
class Built:
    """A trial has an artifact.

    Attributes:
        trial: The trial, with the artifact and the seconds of each step.
    """

    trial: Trial


@dataclass(frozen=True)
class Measured:
    """A trial has finished a rung.

    Attributes:
        trial: The trial; ``trial.rung`` is the rung, ``trial.measurements`` are the values.
    """

    trial: Trial


@dataclass(frozen=True)
class Ended:
    """A trial has its outcome.

    Attributes:
        result: How it ended, with everything that was measured.
        violations: By how much each constraint is broken, relative to its limit; 0 where it is
            met, infinite where the metric is missing.
    """

    result: TrialResult
    violations: tuple[float, ...] = ()


Event: TypeAlias = Built | Measured | Ended


@dataclass(frozen=True)
class PrefixCost:
    """What the first passes of a recipe cost, up to one of them.

    Attributes:
        step: Name of the last pass of the prefix.
        built: Whether the store has its output, so that the pass does not run.
        estimated_s: Seconds of the last pass, by its own estimate; None: it gives none.
        observed_s: Seconds that it took when this prefix was built, those of a run that it
            continued from included; None: this study has not built it.
        resumes: Share of the last pass that an earlier run of it has done, so that only the rest is
            to be paid; None: it begins at the start, or is built.
    """

    step: str
    built: bool
    estimated_s: float | None = None
    observed_s: float | None = None
    resumes: float | None = None


class View(Protocol):
    """What a strategy can read of a search when it is asked; a cost is computed when it is read."""

    @property
    def space(self) -> Space:
        """What may be proposed."""

    @property
    def free_slots(self) -> int:
        """How many more builds can begin now."""

    @property
    def trials(self) -> Mapping[int, Trial]:
        """Trials that were started and have no outcome yet, by number."""

    @property
    def paused(self) -> Sequence[int]:
        """Numbers of the trials that can be promoted, ascending."""

    @property
    def limits(self) -> Sequence[Limit]:
        """The constraints in force, as far as their numbers are known."""

    @property
    def metrics(self) -> Sequence[MetricSpec]:
        """What the evaluators measure."""

    @property
    def left_s(self) -> float | None:
        """Seconds that are left to search in; None: no limit."""

    @property
    def clock(self) -> Callable[[], float]:
        """Gives the search's seconds; where it is simulated, they pass only while jobs run."""

    @property
    def priors(self) -> Sequence[Prior]:
        """Earlier studies, by name: what they yielded is expected here, and known nowhere."""

    def fits(self, candidate: Candidate) -> bool:
        """Return whether a candidate can end in the time that is left, by all estimates.

        One that cannot is not begun, but set aside: the strategy is asked for the next one.
        """

    @property
    def may_start(self) -> bool:
        """Whether another trial may begin; if not, paused ones can still be promoted."""

    def cost(self, candidate: Candidate) -> tuple[PrefixCost, ...]:
        """Return the cost of each prefix of a candidate's recipe, shortest first."""


@runtime_checkable
class Strategy(Protocol):
    """Decides which trial is started or promoted next.

    The constructor is that of `Proposer`. A strategy is rebuilt from events: if it receives the
    same ones in the same order, it continues as if it had never been interrupted.
    """

    def ask(self, view: View) -> Request | None:
        """Return what to do next; None: nothing before another event, or nothing at all.

        The search ends when the answer is None and no trial is running.
        """

    def tell(self, event: Event) -> None:
        """Take an event into account; events of an earlier run of the study come first."""


@runtime_checkable
class Proposer(Protocol):
    """Proposes candidates, each of which is measured up to its last rung.

    It never proposes a candidate twice, or one that was reported to it. It is rebuilt from
    results: if it receives the same ones in the same order, it continues as if it had never been
    interrupted.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        first: Sequence[Candidate] = (),
    ) -> None:
        """Make a proposer.

        Args:
            space: What may be proposed.
            objectives: What is better, in order of importance.
            seed: Makes the proposals repeatable.
            first: Candidates to propose before all others, inside the space or not.
        """

    def ask(self) -> Candidate | None:
        """Return the next candidate; None once the space is exhausted."""

    def tell(
        self, candidate: Candidate, outcome: TrialResult, violations: Sequence[float] = ()
    ) -> None:
        """Report the result of a trial.

        Args:
            candidate: What was tried.
            outcome: How it ended.
            violations: By how much each constraint is broken, relative to its limit; 0 where it is
                met, infinite where the metric is missing.
        """
