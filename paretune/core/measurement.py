"""A measurement: one metric of one model on one target, with how sure it is and its raw samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any, Literal

from paretune.core.details import BY_EXAMPLE, Details
from paretune.core.jsontools import Json
from paretune.core.on_disk import MayBeOnDisk, OnDisk, length

Direction = Literal["minimize", "maximize"]


class Rung(StrEnum):
    """How much a measurement is worth: each rung costs more and says more."""

    SMOKE = "smoke"
    ROUGH = "rough"
    FULL = "full"


@dataclass(frozen=True)
class MetricSpec:
    """What an evaluator promises to yield.

    Attributes:
        name: The metric's name, the same everywhere (``accuracy``, ``decode_ms_p50``, ...).
        unit: ``fraction``, ``ms``, ``tokens/s``, ``MB`` (10^6 bytes), ``s``, ...
        direction: Which way is better.
        device: True if the value depends on the device and the runtime settings.
        weights: True if a device's value also depends on the values of the weights, such as the
            time until an answer ends: then no candidate takes it over from another one.
    """

    name: str
    unit: str
    direction: Direction
    device: bool
    weights: bool = False


class _DetailsField:
    """The field `details`: takes typed details or a plug-in's mapping, and holds typed ones."""

    def __get__(self, measurement: Measurement | None, owner: type) -> Details:
        if measurement is None:  # the default value
            return Details()
        found: Details = measurement.__dict__["details"]
        return found

    def __set__(self, measurement: Measurement, value: Mapping[str, Json]) -> None:
        measurement.__dict__["details"] = Details.from_json(value)


@dataclass(frozen=True)
class Measurement:
    """One value with its interval.

    Attributes:
        metric: Name as in the evaluator's `MetricSpec`.
        value: The point value; None if there is none, and then `reason` says why.
        unit: As in the `MetricSpec`.
        low: Lower end of the 95 % interval; None where no interval exists.
        high: Upper end of it.
        n: Number of samples behind the value.
        protocol: Name and version of how it was measured, such as ``wilson-1``.
        samples: Raw samples in order of measurement, in `unit` (per example for a proportion).
        reason: Why there is no value or no interval, or what disturbed it.
        details: What else is known of it. A plug-in may give a JSON-able mapping, with keys of
            its own.
    """

    metric: str
    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    n: int = 0
    protocol: str = ""
    samples: MayBeOnDisk[tuple[float, ...]] = MayBeOnDisk(())
    reason: str | None = None
    details: _DetailsField = _DetailsField()

    def summary(self) -> dict[str, Json]:
        """Return what ``results.json`` shows: everything but samples and most details."""
        source = self.details.taken_from
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "unit": self.unit,
            "reason": self.reason,
            **({} if source is None else {"taken_from": source}),
        }

    @property
    def sample_count(self) -> int:
        """How many raw samples there are, wherever they lie."""
        return length(self, "samples")

    def long_fields(self) -> dict[str, int]:
        """Return the fields that hold something for each sample, by name, and how long each is."""
        found = {"samples": self.sample_count}
        return found | {name: length(self.details, name) for name in BY_EXAMPLE}

    def leaving(self, load: Callable[[], Measurement], counts: Mapping[str, int]) -> Measurement:
        """Return the same measurement with some of its long fields on disk.

        Args:
            load: Returns it whole.
            counts: Which fields, and how long each is.
        """
        made, details = copy(self), copy(self.details)
        made.__dict__["details"] = details
        for name, count in counts.items():
            of_details = name in BY_EXAMPLE
            holder = details if of_details else made
            holder.__dict__[name] = OnDisk(partial(_field, load, name, of_details), count)
        return made

    def noting(self, **changes: Any) -> Measurement:
        """Return the same measurement with other values in fields of its details."""
        return replace(self, details=replace(self.details, **changes))

    def to_json(self) -> dict[str, Json]:
        """Return everything, raw samples included."""
        return {
            "metric": self.metric,
            **self.summary(),
            "protocol": self.protocol,
            "samples": list(self.samples),
            "details": self.details.to_json(),
        }

    @property
    def taken_over(self) -> bool:
        """Whether it was measured on another candidate, and so decides nothing by itself."""
        return self.details.taken_from is not None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Measurement:
        """Read what `to_json` wrote, or a summary."""
        source = {key: value[key] for key in ("taken_from",) if key in value}
        return cls(
            metric=value["metric"],
            value=value["value"],
            unit=value["unit"],
            low=value["low"],
            high=value["high"],
            n=value["n"],
            protocol=value.get("protocol", ""),
            samples=tuple(value.get("samples", ())),
            reason=value["reason"],
            details=value.get("details", source),
        )


def _field(load: Callable[[], Measurement], name: str, of_details: bool) -> Any:
    whole = load()
    return getattr(whole.details if of_details else whole, name)


def by_metric(values: Iterable[Measurement]) -> dict[str, Measurement]:
    """Return measurements by their metrics."""
    return {m.metric: m for m in values}
