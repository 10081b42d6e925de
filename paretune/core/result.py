"""What became of a candidate: typed, with its reason, its measurements and what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from paretune.core.candidate import Candidate
from paretune.core.jsontools import Json, canonical
from paretune.core.measurement import Measurement, Rung
from paretune.core.parent import Parent
from paretune.core.schemas import expect_schema
from paretune.core.trial_forecast import TrialForecast, read_forecast

SCHEMA = 1
"""Version of ``outcome.json``."""
NOT_PROMOTED = "not promoted"
"""Reason of a trial that was paused after a rung and that the strategy did not continue."""

_MOST_DETAILS_BYTES = 1 << 16


class OutcomeKind(StrEnum):
    """The ways a candidate can end; the words are part of the ``results.json`` contract."""

    OK = "ok"
    INFEASIBLE = "infeasible"
    PRUNED = "pruned"
    INVALID = "invalid"
    FAILED = "failed"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    DUPLICATE = "duplicate"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class StepTime:
    """Wall seconds of one step of a candidate (a pass's name, or ``evaluator:rung``).

    Attributes:
        step: What ran.
        s: Wall seconds.
        cached: True if the step's result came from the store or an earlier candidate.
        resumed: Share of the step that an earlier run had done already: it continued from a
            checkpoint.
        details: What a pass found when it ran (`paretune.data.context.Context`).
    """

    step: str
    s: float
    cached: bool
    resumed: float = 0.0
    details: Mapping[str, Json] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, Json]:
        """Return the fields by name; ``resumed`` and ``details`` only if there is anything."""
        found: dict[str, Json] = {
            "step": self.step,
            "s": round(self.s, 4),
            "cached": self.cached,
        }
        if self.resumed:
            found["resumed"] = round(self.resumed, 6)
        return {**found, "details": dict(self.details)} if self.details else found

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> StepTime:
        """Read what `to_json` wrote.

        Raises:
            ValueError: The details are none.
        """
        details = checked_details(value.get("details", {}))
        return cls(value["step"], value["s"], value["cached"], value.get("resumed", 0.0), details)


def checked_details(value: Json) -> dict[str, Json]:
    """Return the details of a step, if they are an object of at most 64 kB of JSON.

    Raises:
        ValueError: They are not.
    """
    if not isinstance(value, dict):
        raise ValueError(f"the details of a step: expected an object, found {type(value).__name__}")
    size = len(canonical(value).encode())
    if size > _MOST_DETAILS_BYTES:
        raise ValueError(
            f"the details of a step have {size} bytes of JSON, expected {_MOST_DETAILS_BYTES} at "
            "most"
        )
    return value


def uncached_seconds(steps: Iterable[StepTime]) -> float:
    """Return the seconds of the steps that ran."""
    return sum(step.s for step in steps if not step.cached)


@dataclass(frozen=True)
class TrialResult:
    """The end of one candidate.

    Attributes:
        id: 1-based number of the candidate in its study.
        candidate: What was tried.
        kind: How it ended.
        rung: The last rung that was finished, or at which it was stopped.
        reason: Why, as text; None for ``ok``.
        constraint: Text of the constraint that stopped it early, if one did.
        duplicate_of: Id of the candidate with the same artifact and settings.
        measurements: By metric name, each from its last rung.
        artifact: Digest of the built model, if it was built.
        structure: Digest of what its speed depends on (`paretune.models.structure`); None: unknown.
        seconds: What each step cost.
        ran_job: Whether any job ran (what counts as a trial).
        beyond_trials: Whether it was measured beyond `--trials`: another device picked it.
        transient: True if the cause of the end lay outside of the candidate: it does not
            characterize it, and it is tried again when the search goes on.
        limit: For ``timeout`` and ``out_of_memory``: the limit that it met, as ``{"seconds": ...}``
            or ``{"memory": bytes}``. It is tried again where that limit has grown.
        wall_s: Wall seconds that it adds to the study's time, where it ran beside other trials;
            None: the sum of its steps.
        ended_s: Seconds that the study had spent when it ended; None: of an earlier version.
        forecast: What the strategy expected of it; None: it did not say.
        asked_s: Seconds that the strategy took to choose it; None: it did not choose it.
        parent: The trained model that it was to be built from; None: it was not measured.
    """

    id: int
    candidate: Candidate
    kind: OutcomeKind
    rung: Rung | None = None
    reason: str | None = None
    constraint: str | None = None
    duplicate_of: int | None = None
    measurements: Mapping[str, Measurement] | None = None
    artifact: str | None = None
    seconds: tuple[StepTime, ...] = ()
    ran_job: bool = True
    transient: bool = False
    limit: Mapping[str, float] | None = None
    wall_s: float | None = None
    structure: str | None = None
    ended_s: float | None = None
    forecast: TrialForecast | None = None
    asked_s: float | None = None
    parent: Parent | None = None
    beyond_trials: bool = False

    @property
    def is_trial(self) -> bool:
        """Whether it counts as one of the study's trials."""
        return self.ran_job and not self.beyond_trials

    @property
    def spent_s(self) -> float:
        """Wall seconds that it adds to the study's time."""
        return uncached_seconds(self.seconds) if self.wall_s is None else self.wall_s

    @property
    def not_promoted(self) -> bool:
        """Whether it was paused after a rung, and can be continued from there."""
        return self.kind is OutcomeKind.PRUNED and self.reason == NOT_PROMOTED

    @property
    def stopped_by_parent(self) -> bool:
        """Whether it ended before its build, as what is known of its parent rules it out."""
        early = self.kind in (OutcomeKind.INFEASIBLE, OutcomeKind.PRUNED)
        return early and self.parent is not None and self.artifact is None

    @property
    def rests_on(self) -> set[str]:
        """The metrics that it has, or that stopped the candidate before its build."""
        parent = self.parent.metrics if self.stopped_by_parent and self.parent else {}
        return {*(self.measurements or {}), *parent}

    def after(self, step: StepTime, measured: Mapping[str, Measurement]) -> TrialResult:
        """Return the result after one more step, which ran by itself, with other measurements."""
        wall = None if self.wall_s is None else self.wall_s + uncached_seconds([step])
        return replace(self, measurements=measured, seconds=(*self.seconds, step), wall_s=wall)

    def value(self, metric: str) -> float | None:
        """Return a metric's point value, or None if it was not measured."""
        measured = (self.measurements or {}).get(metric)
        return None if measured is None else measured.value

    def to_json(self) -> dict[str, Json]:
        """Return everything but raw samples (those are in ``measurements.json``)."""
        return {
            "schema": SCHEMA,
            "id": self.id,
            **self.candidate.to_json(),
            "outcome": self.kind.value,
            "rung": None if self.rung is None else self.rung.value,
            "reason": self.reason,
            "constraint": self.constraint,
            "duplicate_of": self.duplicate_of,
            "metrics": {k: m.summary() for k, m in (self.measurements or {}).items()},
            "artifact": self.artifact,
            "structure": self.structure,
            "seconds": [step.to_json() for step in self.seconds],
            "ran_job": self.ran_job,
            "transient": self.transient,
            **({} if self.limit is None else {"limit": dict(self.limit)}),
            **({} if self.wall_s is None else {"wall_s": round(self.wall_s, 4)}),
            **({} if self.ended_s is None else {"ended_s": round(self.ended_s, 4)}),
            **({} if self.forecast is None else {"forecast": self.forecast.to_json()}),
            **({} if self.asked_s is None else {"asked_s": round(self.asked_s, 4)}),
            **({} if self.parent is None else {"parent": self.parent.to_json()}),
            **({"beyond_trials": True} if self.beyond_trials else {}),
        }

    @classmethod
    def from_json(
        cls, value: Mapping[str, Any], measurements: Mapping[str, Measurement] | None = None
    ) -> TrialResult:
        """Read what `to_json` wrote.

        Args:
            value: The JSON object of ``outcome.json``.
            measurements: With raw samples, from ``measurements.json``; else summaries are used.

        Raises:
            ValueError: It was written under a later schema.
        """
        expect_schema(value.get("schema", SCHEMA), SCHEMA)  # the first outcomes did not say theirs
        told = {
            name: Measurement.from_json({"metric": name, **summary})
            for name, summary in value["metrics"].items()
        }
        measurements = {**told, **(measurements or {})}  # of those without samples, the summary
        return cls(
            id=value["id"],
            candidate=Candidate.from_json(value),
            kind=OutcomeKind(value["outcome"]),
            rung=None if value["rung"] is None else Rung(value["rung"]),
            reason=value["reason"],
            constraint=value.get("constraint"),
            duplicate_of=value["duplicate_of"],
            measurements=measurements,
            artifact=value["artifact"],
            seconds=tuple(map(StepTime.from_json, value["seconds"])),
            ran_job=value.get("ran_job", True),
            transient=value.get("transient", False),
            limit=value.get("limit"),
            wall_s=value.get("wall_s"),
            structure=value.get("structure"),
            ended_s=value.get("ended_s"),
            forecast=read_forecast(value.get("forecast")),
            asked_s=value.get("asked_s"),
            parent=None if value.get("parent") is None else Parent.from_json(value["parent"]),
            beyond_trials=value.get("beyond_trials", False),
        )
