"""What is known of the model that a candidate is built from: the trained one in full precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement

STEP = "parent"
"""Name of the step in which a trial measures its parent."""


@dataclass(frozen=True)
class BuildCost:
    """By how much a build's metric differs from its parent's, on the same examples.

    Attributes:
        value: The build's minus the parent's, in the metric's unit.
        low: Lower end of its 95 % interval; None where there is none.
        high: Upper end of it.
        n: Examples (or windows) that both were measured on.
        change: What a metric is forecast by: the difference of a share, of a perplexity the
            logarithm of the ratio; None: of another kind of metric.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    change: float | None

    def to_json(self) -> dict[str, Json]:
        """Return the fields by name."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> BuildCost:
        """Read what `to_json` wrote."""
        names = ("value", "low", "high", "n", "change")
        return cls(**{name: value[name] for name in names})


@dataclass(frozen=True)
class Parent:
    """A candidate's parent: what the first steps of its recipe have built, before any rounding.

    Attributes:
        artifact: Its digest.
        steps: How many steps of the candidate's recipe lead to it.
        metrics: What was measured of it, those metrics that do not depend on a device.
        bounds: Of metrics that were not measured on every example: between which values they are on
            all, at every step of the measurement (`paretune.stats.parent_gain.BOUND_ALPHA`). Of one
            that was, both ends are its value.
        costs: What the candidate's build costs, once both were measured.
    """

    artifact: str
    steps: int
    metrics: Mapping[str, Measurement]
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    costs: Mapping[str, BuildCost] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """Return everything but raw samples; an end that no number bounds is null."""
        return {
            "artifact": self.artifact,
            "steps": self.steps,
            "metrics": {name: m.summary() for name, m in self.metrics.items()},
            "bounds": {name: [_finite(end) for end in ends] for name, ends in self.bounds.items()},
            "costs": {name: cost.to_json() for name, cost in self.costs.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Parent:
        """Read what `to_json` wrote."""
        metrics = value["metrics"].items()
        return cls(
            value["artifact"],
            value["steps"],
            {name: Measurement.from_json({"metric": name, **m}) for name, m in metrics},
            {name: _ends(*ends) for name, ends in value["bounds"].items()},
            {name: BuildCost.from_json(cost) for name, cost in value["costs"].items()},
        )


_INFINITE = float("inf")


def _finite(end: float) -> float | None:
    return None if abs(end) == _INFINITE else end


def _ends(low: float | None, high: float | None) -> tuple[float, float]:
    return (-_INFINITE if low is None else low, _INFINITE if high is None else high)
