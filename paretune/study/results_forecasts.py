"""The parts of ``results.json`` that say what was expected of candidates."""

from __future__ import annotations

from pydantic import Field

from paretune.study.results_part import Part


class MetricForecastEntry(Part):
    """The forecast of one metric, in its unit."""

    value: float = Field(description="What was expected.")
    low: float | None = Field(
        None,
        description="Lower end of the 95 % interval of what would be measured; null: none was "
        "given.",
    )
    high: float | None = Field(None, description="Upper end of it.")


class ForecastEntry(Part):
    """What a strategy expected of a candidate, run to its last rung."""

    metrics: dict[str, MetricForecastEntry] = Field(description="By metric.")
    success: float | None = Field(
        None, ge=0, le=1, description="Chance that it does not fail; absent: not said."
    )
    feasible: float | None = Field(
        None, ge=0, le=1, description="Chance that it does not fail and meets the limits."
    )
    seconds: float | None = Field(None, ge=0, description="What it would take.")
    gain: float | None = Field(
        None,
        ge=0,
        description="Expected gain in hypervolume, as a share of that of the feasible front then.",
    )
