"""Recorded tables: what every candidate of a space costs, yields and looks like when measured.

A table has everything that a search would otherwise have to run. A search sees what it would have
measured, with the noise that was recorded; it is scored by the true values.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from paretune.core.candidate import Candidate, Step
from paretune.core.measurement import Measurement, Rung
from paretune.search.jobs import EvaluatorSlot
from paretune.search.space import Space

Recipe: TypeAlias = tuple[Step, ...]


@dataclass(frozen=True)
class Measured:
    """What one job measures.

    Attributes:
        values: As an evaluator returns them.
        seconds: What it takes.
    """

    values: Sequence[Measurement]
    seconds: float


class Table(Protocol):
    """One table of recorded figures, for one device."""

    @property
    def name(self) -> str:
        """Its name, that of the device included."""

    @property
    def space(self) -> Space:
        """What may be searched."""

    @property
    def evaluators(self) -> Sequence[EvaluatorSlot]:
        """What measures, in configured order."""

    @property
    def noise_floor(self) -> float:
        """What two processes' medians of the same work differ by, as a share."""

    @property
    def continued(self) -> Mapping[str, str]:
        """Pass to the parameter by which it can go on: more of it costs the difference only."""

    def distinct(self) -> Iterator[Candidate]:
        """Yield the candidates that differ in a true value; of equal ones the cheapest to build."""

    def missing(self, candidate: Candidate) -> str | None:
        """Return why a candidate is not in the table; None if it is."""

    def seconds(self, recipe: Recipe) -> float:
        """Return what the last pass of a recipe takes from its source, nothing continued."""

    def estimate(self, recipe: Recipe) -> float | None:
        """Return what the last pass says of itself beforehand; None: nothing."""

    def artifact(self, recipe: Recipe) -> str:
        """Return the digest of what a recipe builds."""

    def structure(self, recipe: Recipe) -> str:
        """Return what the speeds of an artifact depend on."""

    def truth(self, candidate: Candidate) -> Mapping[str, float]:
        """Return the true mean of each metric."""

    def smoke_seconds(self, candidate: Candidate) -> float:
        """Return what it takes to load a candidate and to run it once."""

    def measure(
        self,
        candidate: Candidate,
        slot: EvaluatorSlot,
        rung: Rung,
        examples: int | None,
        draw: random.Random,
    ) -> Measured:
        """Return what one process measures.

        Args:
            candidate: What is measured.
            slot: By which evaluator.
            rung: How much.
            examples: How many examples; None: all.
            draw: The noise is drawn from it.
        """


def timed(metric: str, unit: str, value: float, within: float) -> Measurement:
    """Return a speed of one process.

    Args:
        metric: Its name.
        unit: Its unit.
        value: The process's median.
        within: Half the width of its interval, as a share.
    """
    ends = (value * (1 - within), value * (1 + within))
    return Measurement(metric, value, unit, *ends, 2, "recorded-1", (value, value))


def exact(metric: str, unit: str, value: float) -> Measurement:
    """Return a value that has no noise."""
    return Measurement(metric, value, unit, value, value, 1, "exact-recorded-1", (value,))
