"""A trial as data: what a candidate has built and measured so far.

A trial that is paused after a rung is written to ``candidates/NNNN/trial.json`` and continues from
there, in this process or another one. Its outcome replaces it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from paretune.core.candidate import Candidate
from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement, Rung
from paretune.core.model import Model
from paretune.core.parent import Parent
from paretune.core.result import (
    NOT_PROMOTED,
    OutcomeKind,
    StepTime,
    TrialResult,
    uncached_seconds,
)
from paretune.core.schemas import expect_schema
from paretune.core.trial_forecast import TrialForecast, read_forecast

SCHEMA = 1
"""Version of ``trial.json``."""
_NUMBERS = {rung: number for number, rung in enumerate(Rung)}


def rung_number(rung: Rung) -> int:
    """Return a rung's number, by which rungs are ordered; the cheapest is 0."""
    return _NUMBERS[rung]


@dataclass(frozen=True)
class Trial:
    """One candidate between two steps of its trial.

    Attributes:
        id: 1-based number of the candidate in its study.
        candidate: What is tried.
        artifact: Digest of what was built; None: nothing yet.
        structure: Digest of what its speed depends on; None: unknown.
        measured: By rung, everything that was known when this rung was finished.
        seconds: What each step cost.
        wall_s: Wall seconds that it adds to the study's time, where it ran beside other trials;
            None: the sum of its steps.
        forecast: What the strategy expected of it when it started it; None: it did not say.
        asked_s: Seconds that the strategy took to choose it; None: it did not choose it.
        model: The artifact, once this process has opened it; it is not stored.
        parent: The trained model that it is built from; None: it was not measured.
    """

    id: int
    candidate: Candidate
    artifact: str | None = None
    measured: Mapping[Rung, Mapping[str, Measurement]] = field(default_factory=dict)
    seconds: tuple[StepTime, ...] = ()
    wall_s: float | None = None
    model: Model | None = field(default=None, compare=False)
    structure: str | None = None
    forecast: TrialForecast | None = None
    asked_s: float | None = None
    parent: Parent | None = None

    @property
    def rung(self) -> Rung | None:
        """The last rung that was finished."""
        return max(self.measured, key=rung_number, default=None)

    @property
    def measurements(self) -> Mapping[str, Measurement]:
        """Everything that is known of it, by metric."""
        return {} if self.rung is None else self.measured[self.rung]

    @property
    def spent_s(self) -> float:
        """Wall seconds that it adds to the study's time."""
        return uncached_seconds(self.seconds) if self.wall_s is None else self.wall_s

    def at(self, rung: Rung | None) -> Trial:
        """Return the trial as it was when it had finished a rung; None: when it was built."""
        last = -1 if rung is None else rung_number(rung)
        kept = {k: v for k, v in self.measured.items() if rung_number(k) <= last}
        return replace(self, measured=kept)

    def reached(self, rung: Rung) -> bool:
        """Return whether it has finished a rung."""
        return self.rung is not None and rung_number(self.rung) >= rung_number(rung)

    def ended(self, kind: OutcomeKind, **fields: Any) -> TrialResult:
        """Return the result if it ends here.

        Args:
            kind: How.
            fields: Further fields of the result, and those that differ from the trial's.
        """
        known: dict[str, Any] = {
            "rung": self.rung,
            "measurements": self.measurements,
            "artifact": self.artifact,
            "structure": self.structure,
            "seconds": self.seconds,
            "wall_s": self.wall_s,
            "forecast": self.forecast,
            "asked_s": self.asked_s,
            "parent": self.parent,
        }
        return TrialResult(self.id, self.candidate, kind, **(known | fields))

    def not_promoted(self) -> TrialResult:
        """Return the result if it is not continued."""
        return self.ended(OutcomeKind.PRUNED, reason=NOT_PROMOTED)

    def to_json(self) -> dict[str, Json]:
        """Return everything, raw samples included."""
        return {
            "schema": SCHEMA,
            "id": self.id,
            **self.candidate.to_json(),
            "artifact": self.artifact,
            "structure": self.structure,
            "measured": {
                rung.value: {name: m.to_json() for name, m in found.items()}
                for rung, found in self.measured.items()
            },
            "seconds": [step.to_json() for step in self.seconds],
            "wall_s": self.wall_s,
            **({} if self.forecast is None else {"forecast": self.forecast.to_json()}),
            **({} if self.asked_s is None else {"asked_s": self.asked_s}),
            **({} if self.parent is None else {"parent": self.parent.to_json()}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Trial:
        """Read what `to_json` wrote.

        Raises:
            ValueError: It was written under a later schema.
        """
        expect_schema(value["schema"], SCHEMA)
        return cls(
            id=value["id"],
            candidate=Candidate.from_json(value),
            artifact=value["artifact"],
            measured={
                Rung(rung): {name: Measurement.from_json(m) for name, m in found.items()}
                for rung, found in value["measured"].items()
            },
            seconds=tuple(map(StepTime.from_json, value["seconds"])),
            wall_s=value["wall_s"],
            structure=value.get("structure"),
            forecast=read_forecast(value.get("forecast")),
            asked_s=value.get("asked_s"),
            parent=None if value.get("parent") is None else Parent.from_json(value["parent"]),
        )
