"""What the report's section on forecasts shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paretune.core.jsontools import Json
from paretune.reporting.answer import number
from paretune.reporting.forecast_figures import MOST, compared, forecast_figures
from paretune.reporting.forecast_words import error_text, forecast_sentence, qualities, verdict
from paretune.study.results import CandidateEntry, Results


def forecast_section(results: Results, script: Callable[[Json], str]) -> dict[str, Any] | None:
    """Return what the template shows; None: nothing was forecast.

    Args:
        results: The results document.
        script: Makes of a value text that may stand in a script element.
    """
    sentence = forecast_sentence(results)
    if sentence is None or results.forecasts is None:
        return None
    figures = forecast_figures(results)
    pairs = compared(results)
    by_id = {name: {pair.id: pair for pair in found} for name, found in pairs.items()}
    ids = sorted({id for found in by_id.values() for id in found})
    return {
        "sentence": sentence,
        "names": [figure["name"] for figure in figures],
        "figures": script(figures) if figures else None,
        "rows": [
            {
                "name": name,
                "q": quality,
                "verdict": verdict(quality),
                **{
                    key: error_text(getattr(quality, key), relative=quality.relative)
                    for key in ("error", "mean_error", "last_error")
                },
            }
            for name, quality in qualities(results)
        ],
        "feasible": results.forecasts.feasible,
        "compared": [(id, [found.get(id) for found in by_id.values()]) for id in ids[-MOST:]],
        "cut": MOST if len(ids) > MOST else None,
    }


def expected(candidate: CandidateEntry, metric: str) -> list[str]:
    """Return what a candidate's metric was expected to be, as text; nothing if it was not."""
    told = None if candidate.forecast is None else candidate.forecast.metrics.get(metric)
    if told is None:
        return []
    ends = "" if told.low is None else f" ({number(told.low)} to {number(told.high)})"
    return [f"forecast before it was started: {number(told.value)}{ends}"]
