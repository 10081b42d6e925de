"""In which order a candidate is measured: by rung, speeds first, their processes spread in time.

A speed's last rung is measured in several processes. What a shared machine does changes within
seconds: three of them in a row often meet the same moment, and agree on a value that another minute
does not give. So the further ones run between and after the rung's other measurements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from paretune.core.measurement import Rung
from paretune.search.jobs import EvaluatorSlot


@dataclass(frozen=True)
class MeasurementStep:
    """One measurement in one process.

    Attributes:
        rung: How much is measured.
        slot: By which evaluator.
        process: Which of those that this rung takes with this evaluator, from 0.
        of: How many those are.
    """

    rung: Rung
    slot: EvaluatorSlot
    process: int = 0
    of: int = 1

    @property
    def final(self) -> bool:
        """True if the evaluator has nothing left to do after it."""
        return self.rung == self.slot.rungs[-1] and self.process == self.of - 1


def measurement_steps(
    evaluators: Iterable[EvaluatorSlot], *, early_stops: bool
) -> list[MeasurementStep]:
    """Return all measurements of a candidate, in order.

    Args:
        evaluators: In configured order.
        early_stops: Whether to measure cheaply first; else each evaluator's last rung only.
    """
    # Speed before the dearer accuracy.
    slots = sorted(evaluators, key=lambda slot: not slot.on_device)
    steps: list[MeasurementStep] = []
    for rung in Rung:
        steps += _spread(
            [
                MeasurementStep(rung, slot, 0, slot.processes if rung == slot.rungs[-1] else 1)
                for slot in slots
                if rung == slot.rungs[-1] or (rung in slot.rungs and early_stops)
            ]
        )
    return steps


def _spread(first: Sequence[MeasurementStep]) -> list[MeasurementStep]:
    """Return a rung's measurements with further processes of each spread evenly after it."""
    after: list[list[MeasurementStep]] = [[] for _ in first]
    for place, step in enumerate(first):
        following = len(first) - 1 - place
        for process in range(1, step.of):
            at = place + following * process // (step.of - 1)
            after[at].append(MeasurementStep(step.rung, step.slot, process, step.of))
    return [each for step, more in zip(first, after, strict=True) for each in (step, *more)]
