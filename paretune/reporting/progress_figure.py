"""The report's plot of the best so far against the time spent."""

from __future__ import annotations

import html

from paretune.core.jsontools import Json
from paretune.reporting.answer import number
from paretune.reporting.figure_style import CLEAR
from paretune.study.results import Results
from paretune.study.results_certainty import ProgressPoint

_COLOR = "#0f8a5f"


def progress_figure(results: Results) -> dict[str, Json] | None:
    """Return a Plotly figure of the front's hypervolume over time, with the pick at each point.

    Args:
        results: The results document.

    Returns:
        None if fewer than two trials changed anything.
    """
    points = results.progress
    if len(points) < 2:
        return None
    minutes = points[-1].at_s >= 600
    scale = 60.0 if minutes else 1.0
    line = {
        "type": "scatter",
        "mode": "lines+markers",
        "line": {"shape": "hv", "color": _COLOR, "width": 2},
        "marker": {"color": _COLOR, "size": 7},
        "x": [point.at_s / scale for point in points],
        "y": [100 * point.hypervolume for point in points],
        "text": [_told(point) for point in points],
        "hoverinfo": "text",
    }
    layout = {
        "margin": {"l": 70, "r": 20, "t": 10, "b": 55},
        **CLEAR,
        "hoverlabel": {"align": "left"},
        "xaxis": {
            "title": {"text": f"time spent, {'minutes' if minutes else 'seconds'}"},
            "rangemode": "tozero",
            "zeroline": False,
        },
        "yaxis": {
            "title": {"text": "hypervolume, % of the final one"},
            "range": [0, 105],
            "zeroline": False,
        },
    }
    return {"data": [line], "layout": layout}


def _told(point: ProgressPoint) -> str:
    values = ", ".join(f"{html.escape(name)} {number(v)}" for name, v in point.values.items())
    return (
        f"{point.at_s:.0f} s, {point.trials} trials: {100 * point.hypervolume:.1f} %<br>"
        f"best: <b>{point.best}</b><br>{values}"
    )
