"""Whether a candidate need not go on: its measurements compared with limits and others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from paretune.core.candidate import Candidate
from paretune.core.measurement import Measurement, Rung
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.constraints import Objective
from paretune.search.evidence import ENOUGH_PROCESSES, processes_behind, relied_on
from paretune.search.jobs import EvaluatorSlot
from paretune.search.pruning import Stop, broken_limit, dominated
from paretune.search.run import Shortcuts
from paretune.search.summary import StudySummary
from paretune.stats.finite_population import final_bounds

Measured = Mapping[str, Measurement]


class StopServices(Protocol):
    """What early stops need of a search (`paretune.search.run.SearchRun` describes it)."""

    shortcuts: Shortcuts
    evaluators: Sequence[EvaluatorSlot]
    objectives: Sequence[Objective]
    baseline: str

    @property
    def slack(self) -> float:
        """Share by which the interval of one process's speed is widened."""

    def baseline_outcome(self) -> TrialResult | None:
        """Return the baseline's result, once it exists."""

    def summary(self) -> StudySummary:
        """Return the summary of the study as it is now."""

    def possible_dominators(self) -> dict[int, Mapping[str, Measurement]]:
        """Return the feasible candidates that may dominate another one, by number."""


class EarlyStops:
    """What may end one candidate before its last rung.

    Args:
        search: What they need of the search.
        candidate: The candidate. The baseline goes on whatever it shows: others are measured
            against it.
    """

    def __init__(self, search: StopServices, candidate: Candidate) -> None:
        self._search = search
        self.off = not search.shortcuts.early_stops or candidate.digest == search.baseline
        self._specs = {spec.name: spec for slot in search.evaluators for spec in slot.metrics}

    def reference(self, metric: str) -> Measurement | None:
        """Return the baseline's measurement on every example; None if it did not come so far."""
        base = self._search.baseline_outcome()
        if base is None or base.kind is not OutcomeKind.OK:
            return None
        return (base.measurements or {}).get(metric)

    def relied_on(
        self, measured: Measured, enough: int = ENOUGH_PROCESSES
    ) -> dict[str, Measurement]:
        """Return what an early decision may rely on (`search/evidence.py`)."""
        return {
            name: relied_on(
                m, self._specs.get(name), self._search.slack, self.reference(name), enough
            )
            for name, m in measured.items()
        }

    def stop(self, measured: Measured, enough: int = ENOUGH_PROCESSES) -> Stop | None:
        """Return why the candidate need not go on, if a speed needs so many processes."""
        if self.off:
            return None
        search, relied = self._search, self.relied_on(measured, enough)
        stop = broken_limit(relied, search.summary().limits)
        if stop is None and all(o.metric in relied for o in search.objectives):
            stop = dominated(relied, search.possible_dominators(), search.objectives)
        return stop

    def doubtful(self, measured: Measured, rung: Rung) -> list[EvaluatorSlot]:
        """Return the evaluators to run again before a stop: their speeds are of too few processes.

        Args:
            measured: So far.
            rung: Where they can measure.
        """
        suspected = self.stop(measured, enough=1)
        if suspected is None:
            return []
        few = {
            name
            for name in suspected.metrics
            if self._specs[name].device and len(processes_behind(measured[name])) < ENOUGH_PROCESSES
        }
        return [
            slot
            for slot in self._search.evaluators
            if rung in slot.rungs and any(spec.name in few for spec in slot.metrics)
        ]

    def bounded_share(self, measured: Measured, slot: EvaluatorSlot) -> str | None:
        """Return the metric of an evaluator that is a bounded share of examples, if it has one."""
        return next(
            (spec.name for spec in slot.metrics if self._is_bounded(measured, spec.name)), None
        )

    def surely_met(self, measured: Measured, names: set[str]) -> bool:
        """Return whether these metrics are in constraints only, all of which their bounds meet."""
        search = self._search
        if any(objective.metric in names for objective in search.objectives):
            return False
        limits = [limit for limit in search.summary().limits if limit.metric in names]
        if not all(self._is_bounded(measured, limit.metric) for limit in limits):
            return False
        relied = self.relied_on(measured)
        return bool(limits) and all(
            limit.holds(relied[limit.metric].low) and limit.holds(relied[limit.metric].high)
            for limit in limits
        )

    def _is_bounded(self, measured: Measured, metric: str) -> bool:
        """Return whether the value of all examples is bounded, at every step of the measurement."""
        m, reference = measured.get(metric), self.reference(metric)
        return m is not None and reference is not None and final_bounds(m, reference) is not None
