"""The part of ``results.json`` that compares the devices of a study."""

from __future__ import annotations

from pydantic import Field

from paretune.study.results_part import Part


class ReachedValue(Part):
    """A metric of a device's pick on a device, beside that of the device's own pick."""

    value: float | None
    own: float | None
    cost: float | None = Field(
        None,
        description="By how much it is worse than the device's own pick, as a share of that; "
        "negative: it is better; null: not known.",
    )
    cost_low: float | None = Field(
        None,
        description="Lower end of its 95 % interval, by the intervals of both; null: it has none.",
    )
    cost_high: float | None = Field(None, description="Upper end of it.")


class PickOnDevice(Part):
    """What a device's pick reaches on a device."""

    id: int | None = Field(
        description="The candidate that it is there: the same one, else the best one of the same "
        "recipe, with other settings; null: none of them was measured completely."
    )
    reason: str | None = Field(None, description="Why there is none.")
    feasible: bool | None = None
    values: dict[str, ReachedValue] = Field({}, description="By objective.")


class AcrossEntry(Part):
    """A device's pick, on each device."""

    of: str
    id: int
    on: dict[str, PickOnDevice]


class OneForAllEntry(Part):
    """Which of the picks costs the devices least, if one model is to serve all of them."""

    of: str
    id: int
    worst: float = Field(description="The largest cost on any device in any objective, as a share.")
    metric: str | None = Field(None, description="Where that is; null: it costs nothing anywhere.")
    device: str | None = None
