"""The entry ``priors`` of ``results.json``: earlier studies that a search used, and for what."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from paretune.core.jsontools import Json
from paretune.search.priors import Prior
from paretune.study.earlier import Earlier
from paretune.study.remembered import Remembered
from paretune.study.results_part import Part

KEYS = ("priors", "priors_before")
"""Those of ``results.json`` that say of earlier studies."""
Related = Literal["same", "other"]


class PriorEntry(Part):
    """An earlier study; none of its values is a value of this one."""

    study: str = Field(description="Its folder.")
    device: Related
    model: Related
    data: Related
    outcomes: int = Field(description="How many it has.")
    entered: int = Field(description="How many of them entered the forecasts.")
    nearest: int = Field(
        0, description="How many of these for the nearest candidate of this space."
    )
    metrics: list[str] = Field(description="What they are priors of.")


def told(earlier: Earlier, remembered: Remembered) -> dict[str, Json]:
    """Return what ``results.json`` says of earlier studies; nothing if there were none.

    Args:
        earlier: Those of this run.
        remembered: What its study knows of earlier runs.
    """
    found = ([entry(prior).to_json() for prior in earlier.priors], list(remembered.before))
    return {key: value for key, value in zip(KEYS, found, strict=True) if value}


def entry(prior: Prior) -> PriorEntry:
    """Return what is written of a study."""
    return PriorEntry.from_json(
        {
            "study": prior.study,
            "device": _related(prior.same_device),
            "model": _related(prior.same_model),
            "data": _related(prior.same_data),
            "outcomes": prior.outcomes,
            "entered": len(prior.results),
            "nearest": len(prior.results) - prior.exact,
            "metrics": list(prior.metrics),
        }
    )


def _related(same: bool) -> Related:
    return "same" if same else "other"
