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


class QualityEntry(Part):
    """How good the forecasts of one quantity were."""

    candidates: list[int] = Field(
        description="Whose forecasts count: they measured it themselves, to the end."
    )
    intervals: int = Field(ge=0, description="How many of them have an interval.")
    inside: int = Field(ge=0, description="How many measured values lie inside their interval.")
    error: float | None = Field(description="Median of the absolute errors; null: not known.")
    relative: bool = Field(description="Whether errors are shares of the measured value.")
    mean_error: float | None = Field(
        description="Median error of the mean of the earlier values; null: there are none."
    )
    last_error: float | None = Field(description="Median error of the last value before.")
    rank_correlation: float | None = Field(
        ge=-1, le=1, description="Spearman's, of forecasts and measured values; null: too few."
    )


class ChanceEntry(Part):
    """How good the chances to be feasible were."""

    n: int = Field(ge=1, description="Candidates that had one and were measured, or failed.")
    expected: float = Field(ge=0, le=1, description="Mean of the chances.")
    observed: float = Field(ge=0, le=1, description="Share of them that is feasible.")
    brier: float = Field(ge=0, le=1, description="Mean squared difference; 0: right each time.")


class ForecastsEntry(Part):
    """How good the forecasts of a study were."""

    metrics: dict[str, QualityEntry] = Field(description="By metric.")
    seconds: QualityEntry | None = Field(description="Of the seconds of a trial.")
    feasible: ChanceEntry | None = Field(description="Of the chances to be feasible.")


class SearchSecondsEntry(Part):
    """What choosing the candidates cost."""

    trials: int = Field(ge=1, description="Candidates of which it is known.")
    total_s: float = Field(ge=0, description="Seconds of the strategy's answers.")
    median_s: float = Field(ge=0, description="Per candidate.")
    most_s: float = Field(ge=0, description="The longest.")
    median_trial_s: float | None = Field(description="Median seconds of a trial that ran a job.")
    share: float | None = Field(description="median_s as a share of median_trial_s.")
