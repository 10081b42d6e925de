"""The part ``repeats`` of ``results.json``: the pick with other training seeds."""

from __future__ import annotations

from pydantic import Field

from paretune.core.result import OutcomeKind
from paretune.study.results_part import MetricValue, Part


class RepeatEntry(Part):
    """What became of the pick's recipe with other seeds."""

    seeds: list[int] = Field(description="Of each training of the recipe, in order.")
    outcome: OutcomeKind
    reason: str | None = Field(description="Why it is not `ok`.")
    artifact: str | None
    metrics: dict[str, MetricValue]
    seconds: float = Field(ge=0, description="What building and measuring it took.")
    best: int | None = Field(
        description="The candidate that would be chosen if these values stood in the pick's place, "
        "and no other build of its training were there; null: none, or the repeat is not `ok`."
    )


class SpreadEntry(Part):
    """How far the values of a metric are apart between trainings."""

    n: int = Field(ge=2, description="Trainings, the pick's included.")
    lowest: float
    highest: float
    mean: float = Field(
        description="Of the repeats alone: the pick's own value is the one that it was chosen by."
    )


class RepeatsEntry(Part):
    """The pick's recipe with other training seeds."""

    id: int = Field(description="The pick.")
    asked: int = Field(ge=0, description="How many repeats were asked for.")
    seeds: list[int] = Field(description="The pick's own.")
    runs: list[RepeatEntry]
    spread: dict[str, SpreadEntry] = Field(
        description="By metric that the repeats measured themselves."
    )
    next: int | None = Field(
        description="The candidate that would be chosen without the pick and the other builds of "
        "its training; null: there is none."
    )
    within_noise: list[str] = Field(
        description="Objectives in which trainings of the pick are farther apart than the pick is "
        "from `next`."
    )
    reason: str | None = Field(description="Why fewer repeats were made than asked for.")
