"""Whether a candidate need not go on: what was measured of it so far, held against all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from paretune.core.candidate import Candidate
from paretune.core.measurement import Measurement, Rung
from paretune.core.result import OutcomeKind
from paretune.search.evidence import ENOUGH_PROCESSES, processes_behind, relied_on
from paretune.search.jobs import EvaluatorSlot
from paretune.search.pruning import Stop, broken_limit, dominated
from paretune.stats.finite_population import final_bounds

if TYPE_CHECKING:
    from paretune.search.run import SearchRun

Measured = Mapping[str, Measurement]


class EarlyStops:
    """What may end one candidate before its last rung.

    Args:
        engine: The search.
        candidate: The candidate. The baseline goes on whatever it shows: others are measured
            against it.
    """

    def __init__(self, engine: SearchRun, candidate: Candidate) -> None:
        self._engine = engine
        self.off = not engine.shortcuts.early_stops or candidate.digest == engine.baseline
        self._specs = {spec.name: spec for slot in engine.evaluators for spec in slot.metrics}

    def reference(self, metric: str) -> Measurement | None:
        """Return the baseline's measurement on every example; None if it did not come so far."""
        base = self._engine.baseline_outcome()
        if base is None or base.kind is not OutcomeKind.OK:
            return None
        return (base.measurements or {}).get(metric)

    def relied_on(
        self, measured: Measured, enough: int = ENOUGH_PROCESSES
    ) -> dict[str, Measurement]:
        """Return what an early decision may rely on (`search/evidence.py`)."""
        return {
            name: relied_on(
                m, self._specs.get(name), self._engine.slack, self.reference(name), enough
            )
            for name, m in measured.items()
        }

    def stop(self, measured: Measured, enough: int = ENOUGH_PROCESSES) -> Stop | None:
        """Return why the candidate need not go on, if a speed needs so many processes."""
        if self.off:
            return None
        engine, relied = self._engine, self.relied_on(measured, enough)
        stop = broken_limit(relied, engine.summary().limits)
        if stop is None and all(o.metric in relied for o in engine.objectives):
            stop = dominated(relied, engine.rivals(), engine.objectives)
        return stop

    def doubtful(self, measured: Measured, rung: Rung) -> list[EvaluatorSlot]:
        """Return who is to look again before a stop: its speeds are of too few processes.

        Args:
            measured: So far.
            rung: Where they can look.
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
            for slot in self._engine.evaluators
            if rung in slot.rungs and any(spec.name in few for spec in slot.metrics)
        ]

    def bounded_share(self, measured: Measured, slot: EvaluatorSlot) -> str | None:
        """Return the metric of an evaluator that is a bounded share of examples, if it has one."""
        return next(
            (spec.name for spec in slot.metrics if self._is_bounded(measured, spec.name)), None
        )

    def surely_met(self, measured: Measured, names: set[str]) -> bool:
        """Return whether these metrics are in constraints only, and all of those surely hold."""
        engine = self._engine
        if any(objective.metric in names for objective in engine.objectives):
            return False
        limits = [limit for limit in engine.summary().limits if limit.metric in names]
        if not all(self._is_bounded(measured, limit.metric) for limit in limits):
            return False
        relied = self.relied_on(measured)
        return bool(limits) and all(
            limit.holds(relied[limit.metric].low) and limit.holds(relied[limit.metric].high)
            for limit in limits
        )

    def _is_bounded(self, measured: Measured, metric: str) -> bool:
        """Return whether what all examples will give is bounded, however often one looks."""
        m, reference = measured.get(metric), self.reference(metric)
        return m is not None and reference is not None and final_bounds(m, reference) is not None
