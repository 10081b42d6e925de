"""What all parts of ``results.json`` have in common, and a metric's value."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from paretune.core.jsontools import Json


class Part(BaseModel):
    """A part of the document; further keys are allowed, so that later versions can be read."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    @classmethod
    def from_json(cls, value: Json) -> Self:
        """Read what `to_json` wrote, or an earlier version of this document.

        Raises:
            ValidationError: A value is missing or of another type.
        """
        return cls.model_validate(value)

    def to_json(self) -> dict[str, Json]:
        """Return the values by their keys; without those that were not given."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class MetricValue(Part):
    """A metric of a candidate."""

    value: float | None = Field(description="The point value; null if there is none.")
    low: float | None = Field(description="Lower end of the 95 % interval.")
    high: float | None = Field(description="Upper end of it.")
    n: int = Field(description="Samples behind the value.")
    unit: str
    reason: str | None = Field(description="Why there is no value.")
    taken_from: int | None = Field(
        None, description="Candidate of the same structure that measured it; null: this one."
    )
    remarks: list[str] = Field(
        default=[], description="Samples, processes, outliers and drift, as text."
    )

    @model_validator(mode="after")
    def _both_ends(self) -> MetricValue:
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval has two ends")
        return self
