"""What a candidate will take: the passes' own estimates, corrected by what this study has seen.

A pass estimates its time for the machine that its constants were measured on. Another machine, or
this one with others on it, is faster or slower by a factor, and what the pass took before tells
that factor. What it takes to measure a candidate is known as soon as one was measured whole.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from paretune.core.candidate import Candidate, RuntimeSettings
from paretune.core.measurement import Rung
from paretune.core.parent import STEP
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.search.jobs import EvaluatorSlot
from paretune.search.prechecks import Foresight
from paretune.search.trial_state import Trial

_MIN_ESTIMATE_S = 1.0
"""A shorter estimate does not determine a machine's pace: most of it is starting up."""
_UNSEEN = 1 / 3
"""Share of a pass's estimate that it takes at the least on a machine that nothing is known of."""
_UNSEEN_WITH_GPU = 1 / 50
"""The same where a GPU may do the work: the estimates are of processors."""
_CORES = 2
"""Of the machine that the passes' estimates were measured on."""
_COUNTED = 8
"""The latest observations count: a machine's pace changes with the hour."""


@dataclass(frozen=True)
class Need:
    """What is expected to be needed from now on until a candidate has its outcome.

    Attributes:
        seconds: All of it.
        parts: The passes that are still to run, and ``measuring``, with the seconds of each.
    """

    seconds: float
    parts: tuple[tuple[str, float], ...]

    @property
    def main(self) -> str:
        """Name of what takes most of it."""
        return max(self.parts, key=lambda part: part[1])[0] if self.parts else "measuring"


class Forecast:
    """Learns from outcomes what passes and measurements take here.

    Args:
        look: A candidate's prechecks, for the passes' own estimates.
        slots: The evaluators.
        gpu: Whether the device has one.
        cores: Its physical cores.
    """

    def __init__(
        self,
        look: Callable[[Candidate], Foresight],
        slots: Sequence[EvaluatorSlot],
        *,
        gpu: bool = False,
        cores: int = _CORES,
    ) -> None:
        self._look = look
        self._on_device = {slot.name for slot in slots if slot.on_device}
        self._unseen = (_UNSEEN_WITH_GPU if gpu else _UNSEEN) * min(1.0, _CORES / max(1, cores))
        # By pass: (estimate, what it took), the estimate None where the pass gives none.
        self._passes: defaultdict[str, list[tuple[float | None, float]]] = defaultdict(list)
        self._measured: list[tuple[RuntimeSettings, dict[str, float]]] = []
        self._accurate: set[tuple[object, ...]] = set()
        # By last step and settings: what of the device the latest candidate took over.
        self._taken_over: dict[tuple[object, ...], set[str]] = {}

    def learn(self, outcome: TrialResult) -> None:
        """Take an outcome into account."""
        steps = built_seconds(outcome)
        estimates = self._look(outcome.candidate).estimates if steps else ()
        for position, step in enumerate(steps):
            estimate = estimates[position].seconds if position < len(estimates) else None
            if step.resumed < 1:  # the rest of it tells what all of it takes
                self._passes[step.step].append((estimate, step.s / (1 - step.resumed)))
        if outcome.kind is not OutcomeKind.OK:
            return
        taken: defaultdict[str, float] = defaultdict(float)
        for measured in outcome.seconds[len(steps) :]:
            if not measured.cached and measured.step not in ("finals", STEP):
                taken[measured.step] += measured.s
        runtime = outcome.candidate.runtime
        taken_over = {
            step.step
            for step in outcome.seconds[len(steps) :]
            if step.cached and step.step.partition(":")[0] in self._on_device
        }
        for name in taken_over - taken.keys():  # what it would have taken itself
            before = (t[name] for r, t in reversed(self._measured) if r == runtime and name in t)
            for seconds in islice(before, 1):
                taken[name] = seconds
        self._measured.append((runtime, dict(taken)))
        self._accurate.add(_built_from(outcome.candidate))
        self._taken_over[_built_by(outcome.candidate)] = taken_over

    def need(
        self,
        candidate: Candidate,
        checked: Foresight,
        built: int,
        rungs: Collection[Rung] = tuple(Rung),
        resumed: float = 0.0,
    ) -> Need:
        """Return what a candidate is expected to take.

        Args:
            candidate: The candidate.
            checked: The result of its prechecks.
            built: How many steps of its recipe lie in the store already.
            rungs: Those that are measured.
            resumed: Which share of the next step an earlier run has done.
        """
        parts = []
        for position, step in enumerate(candidate.recipe):
            if position >= built:
                known = position < len(checked.estimates)
                estimate = checked.estimates[position].seconds if known else None
                left = 1 - resumed if position == built else 1.0
                parts.append((step.name, left * self._pass_s(step.name, estimate)))
        parts.append(("measuring", self.measuring_s(candidate, rungs)))
        return Need(sum(seconds for _, seconds in parts), tuple(parts))

    def _pass_s(self, name: str, estimate: float | None) -> float:
        """Return what a pass is expected to take; of one that tells nothing, the least."""
        seen = self._passes.get(name, [])[-_COUNTED:]
        if estimate is None:
            return min((took for _, took in seen), default=0.0)
        if estimate < _MIN_ESTIMATE_S and not seen:
            return 0.0
        paces = _paces(seen)
        if paces:
            return estimate * statistics.median(paces)
        if seen:  # its estimates were too short to tell a pace
            return max(estimate, min(took for _, took in seen))
        others = [
            pace
            for other, found in self._passes.items()
            if other != name
            for pace in _paces(found[-_COUNTED:])
        ]
        # What other passes took tells how slow a machine is, not how fast: a GPU does some of them.
        slow = max(1.0, statistics.median(others)) if others else 1.0
        return estimate * self._unseen * slow

    def measuring_s(
        self,
        candidate: Candidate,
        rungs: Collection[Rung] = tuple(Rung),
        *,
        takes_over: bool = True,
    ) -> float:
        """Return the seconds to load and measure a candidate; 0 while they are unknown.

        Args:
            candidate: The candidate.
            rungs: Those that are measured.
            takes_over: Whether it takes speeds over where one like it did.
        """
        if not self._measured:
            return 0.0
        alike = [taken for runtime, taken in self._measured if runtime == candidate.runtime]
        taken = (alike or [taken for _, taken in self._measured])[-_COUNTED:]
        shared = _built_from(candidate) in self._accurate
        taken_over = self._taken_over.get(_built_by(candidate), set()) if takes_over else set()
        words = {rung.value for rung in Rung} - set(rungs)
        names = {n for each in taken for n in each if n.rpartition(":")[2] not in words}
        return sum(
            statistics.median([each[name] for each in taken if name in each])
            for name in names
            if not (shared and self._is_shared(name)) and name not in taken_over
        )

    def _is_shared(self, step: str) -> bool:
        """Return whether a measurement is taken over from the same model with other threads."""
        name, colon, _ = step.partition(":")
        return bool(colon) and name not in self._on_device


def _paces(seen: Iterable[tuple[float | None, float]]) -> list[float]:
    """Return by how much longer than estimated a pass took, each time."""
    return [
        took / estimate
        for estimate, took in seen
        if estimate is not None and estimate >= _MIN_ESTIMATE_S
    ]


def built_seconds(trial: TrialResult | Trial) -> tuple[StepTime, ...]:
    """Return what each pass of a trial's recipe took; only the first ones if it ended after them.

    None if it was not built.
    """
    names = [step.name for step in trial.candidate.recipe]
    if isinstance(trial, TrialResult) and trial.stopped_by_parent and trial.parent is not None:
        names = names[: trial.parent.steps]
    found = [i for i in range(len(trial.seconds)) if _starts(trial.seconds[i:], names)]
    return trial.seconds[found[-1] :][: len(names)] if names and found else ()


def _starts(steps: Sequence[StepTime], names: Sequence[str]) -> bool:
    return [step.step for step in steps[: len(names)]] == list(names)


def _built_from(candidate: Candidate) -> tuple[object, ...]:
    return (candidate.recipe, candidate.runtime.provider)


def _built_by(candidate: Candidate) -> tuple[object, ...]:
    """Return what the structure of a build most probably follows from."""
    return (candidate.recipe[-1:], candidate.runtime)


def left_out(needs: Mapping[str, Sequence[tuple[Need, float]]]) -> list[str]:
    """Return sentences about candidates that were not begun for lack of time.

    Args:
        needs: By what takes most of it, of each candidate what it needs and what was left then.
    """
    lines = []
    for main, found in needs.items():
        need, left = min(found, key=lambda pair: pair[0].seconds)
        count = len(found)
        who = "1 candidate was" if count == 1 else f"{count} candidates were"
        lines.append(
            f"{who} not begun, as {'it' if count == 1 else 'they'} could not end in the time left: "
            f"about {need.seconds:.0f} s, most of it for {main}, with {left:.0f} s left"
        )
    return lines
