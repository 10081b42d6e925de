"""The report's plot of what passes saw while they worked: learning curves."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping
from typing import Any

from paretune.core.jsontools import Json
from paretune.reporting.figure_style import BASE, CLEAR, OTHERS, PICK
from paretune.reporting.step_details import StepDetails

_COLORS = (BASE, *OTHERS)
_MOST = 8
_LINES = ("solid", "dash", "dot")

Line = list[tuple[float, float]]


def curves_figure(steps: list[StepDetails], best: int | None) -> dict[str, Json] | None:
    """Return a Plotly figure with the curves of at most eight steps, those of the pick first.

    Each step has a color. Its first curve is solid, its second one dashed.

    Args:
        steps: What passes found; it may come from anywhere.
        best: Number of the pick.

    Returns:
        None if no step has a curve.
    """
    told = [(step, lines) for step in steps if (lines := dict(_lines(step.curves)))]
    if not told:
        return None
    told.sort(key=lambda one: best not in one[0].candidates)
    traces: list[Json] = []
    for place, (step, lines) in enumerate(told[:_MOST]):
        own = best in step.candidates
        color = PICK if own else _COLORS[place % len(_COLORS)]
        for kind, (name, points) in enumerate(lines.items()):
            traces.append(_trace(_named(step, name, own=own), points, color, kind))
    axes = [str(told[0][0].curves.get(key, "")) for key in ("x", "y")]
    return {"data": traces, "layout": _layout(*axes), "missing": max(0, len(told) - _MOST)}


def _lines(curves: Mapping[str, Any]) -> Iterator[tuple[str, Line]]:
    lines = curves.get("lines")
    for name, points in lines.items() if isinstance(lines, dict) else ():
        found = [
            (float(point[0]), float(point[1]))
            for point in (points if isinstance(points, list) else ())
            if isinstance(point, list) and len(point) == 2 and all(map(_is_finite, point))
        ]
        if found:
            yield str(name), found


def _is_finite(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _named(step: StepDetails, line: str, *, own: bool) -> str:
    of = ", ".join(map(str, step.candidates))
    told = f"{step.step}, {line}, candidate{'s' if len(step.candidates) > 1 else ''} {of}"
    return html.escape(told + (" (the pick)" if own else ""))


def _trace(name: str, points: Line, color: str, kind: int) -> dict[str, Json]:
    return {
        "type": "scatter",
        "mode": "lines+markers" if kind or len(points) == 1 else "lines",
        "name": name,
        "line": {"color": color, "width": 2, "dash": _LINES[min(kind, len(_LINES) - 1)]},
        "marker": {"color": color, "size": 6},
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
    }


def _layout(x: str, y: str) -> dict[str, Json]:
    return {
        "margin": {"l": 60, "r": 20, "t": 10, "b": 50},
        **CLEAR,
        "legend": {"orientation": "h", "y": -0.2},
        "xaxis": {"title": {"text": html.escape(x)}, "zeroline": False},
        "yaxis": {"title": {"text": html.escape(y)}, "rangemode": "tozero", "zeroline": False},
    }
