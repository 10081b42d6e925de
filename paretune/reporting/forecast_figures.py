"""The report's charts and table of what was forecast against what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paretune.core.jsontools import Json
from paretune.reporting.answer import number
from paretune.reporting.figure_style import CLEAR
from paretune.reporting.forecast_words import SECONDS, qualities
from paretune.search.forecast_quality import trial_seconds
from paretune.study.results import CandidateEntry, Results

MOST = 300
"""Candidates that are drawn and listed: the latest."""
_LOG_FROM = 20.0
"""An axis whose values differ by a larger factor is logarithmic."""
_INSIDE, _OUTSIDE = "#0f8a5f", "#c2410c"


@dataclass(frozen=True)
class Compared:
    """A forecast beside what was measured.

    Attributes:
        id: The candidate.
        value: What was expected.
        low: Lower end of its interval; None: there is none.
        high: Upper end.
        measured: The value.
        from_: Lower end of the measurement's interval; None: there is none.
        to: Upper end.
    """

    id: int
    value: float
    low: float | None
    high: float | None
    measured: float
    from_: float | None = None
    to: float | None = None

    @property
    def inside(self) -> bool:
        """Whether the measured value lies in the forecast's interval, if it has one."""
        if self.low is None or self.high is None:
            return True
        return self.low <= self.measured <= self.high


def compared(results: Results) -> dict[str, list[Compared]]:
    """Return by quantity what was forecast and measured, of the candidates that count."""
    rows = {row.id: row for row in results.candidates}
    return {
        name: [
            pair
            for id in quality.candidates
            if id in rows and (pair := _pair(rows[id], name)) is not None
        ]
        for name, quality in qualities(results)
    }


def _pair(row: CandidateEntry, name: str) -> Compared | None:
    if row.forecast is None:
        return None
    if name == SECONDS:
        if row.forecast.seconds is None:
            return None
        return Compared(row.id, row.forecast.seconds, None, None, trial_seconds(row.seconds))
    told, measured = row.forecast.metrics.get(name), row.metrics.get(name)
    if told is None or measured is None or measured.value is None:
        return None
    ends = (measured.low, measured.high)
    return Compared(row.id, told.value, told.low, told.high, measured.value, *ends)


def forecast_figures(results: Results) -> list[dict[str, Json]]:
    """Return a Plotly figure per quantity: forecasts, with their intervals, against measurements.

    Args:
        results: The results document.

    Returns:
        Each with its ``name``; none of a quantity with fewer than two forecasts.
    """
    units = {name: m.unit for row in results.candidates for name, m in row.metrics.items()}
    return [
        {"name": name, **_figure(pairs[-MOST:], "s" if name == SECONDS else units.get(name, ""))}
        for name, pairs in compared(results).items()
        if len(pairs) > 1
    ]


def _figure(pairs: Sequence[Compared], unit: str) -> dict[str, Json]:
    values = [v for p in pairs for v in (p.value, p.measured)]
    low, high = min(values), max(values)
    log = low > 0 and high > _LOG_FROM * low
    groups = [
        ("inside the interval", _INSIDE, [p for p in pairs if p.inside]),
        ("outside", _OUTSIDE, [p for p in pairs if not p.inside]),
    ]
    ideal = {
        "type": "scatter",
        "mode": "lines",
        "x": [low, high],
        "y": [low, high],
        "line": {"dash": "dot", "width": 1, "color": "#8a96a3"},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    axis = {"type": "log" if log else "linear", "zeroline": False, "automargin": True}
    words = f", {unit}" if unit and unit != "fraction" else ""
    return {
        "data": [ideal, *(_trace(*group) for group in groups if group[2])],
        "layout": {
            "margin": {"l": 55, "r": 10, "t": 8, "b": 45},
            **CLEAR,
            "hoverlabel": {"align": "left"},
            "showlegend": False,
            "xaxis": {**axis, "title": {"text": f"measured{words}"}},
            "yaxis": {**axis, "title": {"text": f"forecast{words}"}},
        },
    }


def _trace(name: str, color: str, pairs: Sequence[Compared]) -> dict[str, Json]:
    def bars(ends: Sequence[tuple[float | None, float, float | None]]) -> dict[str, Json]:
        return {
            "type": "data",
            "symmetric": False,
            "thickness": 1,
            "width": 0,
            "color": color,
            "array": [0.0 if high is None else high - value for _, value, high in ends],
            "arrayminus": [0.0 if low is None else value - low for low, value, _ in ends],
        }

    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [p.measured for p in pairs],
        "y": [p.value for p in pairs],
        "error_x": bars([(p.from_, p.measured, p.to) for p in pairs]),
        "error_y": bars([(p.low, p.value, p.high) for p in pairs]),
        "marker": {"color": color, "size": 7},
        "text": [_told(p) for p in pairs],
        "hoverinfo": "text",
    }


def _told(pair: Compared) -> str:
    ends = "" if pair.low is None else f" ({number(pair.low)} to {number(pair.high)})"
    return (
        f"<b>{pair.id}</b><br>forecast {number(pair.value)}{ends}<br>"
        f"measured {number(pair.measured)}"
    )
