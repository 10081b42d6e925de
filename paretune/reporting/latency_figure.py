"""The report's plot of latency against length: the cost of a long prompt or conversation."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from paretune.core.candidate import counted, further_settings
from paretune.core.jsontools import Json
from paretune.evaluators.generation.workload import Case, GenerationParams, cases_of
from paretune.reporting.figure_style import BASE, CLEAR, OTHERS, PICK
from paretune.study.results import CandidateEntry, Results

PANELS = (
    ("decode_ms_p50", "time per token, ms"),
    ("ttft_ms_p50", "time to first token, ms"),
)
_LONGEST = 70


def measured_cases(config: Mapping[str, Json]) -> list[Case]:
    """Return the lengths that a resolved configuration measures; none if it times no generation.

    Args:
        config: As in ``STUDY/config.yaml``; it is not trusted.
    """
    entries = config.get("evaluate")
    for entry in entries if isinstance(entries, list) else []:
        params = entry.get("generation") if isinstance(entry, dict) else None
        if isinstance(params, dict):
            try:
                return cases_of(GenerationParams(**{str(k): v for k, v in params.items()}))
            except ValidationError:  # of another version: there is a report without the picture
                return []
    return []


def latency_figure(results: Results, cases: Sequence[Case]) -> dict[str, Json] | None:
    """Return a Plotly figure: one line per candidate of the front, and one for the baseline.

    Solid lines show growing prompts, dashed lines a growing context before a prompt.

    Args:
        results: The results document.
        cases: The lengths that were measured.

    Returns:
        None if no more than one length was measured.
    """
    if len(cases) < 2:
        return None
    first, *further = cases
    ways = {
        "solid": [first, *(c for c in further if c.context == first.context)],
        "dash": [first, *(c for c in further if c.context != first.context)],
    }
    rows = {row.id: row for row in results.candidates}
    best, baseline = results.best, None if results.baseline is None else results.baseline.id
    shown = [id for id in dict.fromkeys((best, baseline, *results.pareto)) if id in rows]
    traces: list[dict[str, Json]] = []
    for number, id in enumerate(shown):
        color = {baseline: BASE, best: PICK}.get(id, OTHERS[number % len(OTHERS)])
        lines = [
            _line(rows[id], metric, way, axis)
            for axis, (metric, _) in enumerate(PANELS, start=1)
            for way in ways.items()
        ]
        name = _name(rows[id], best, baseline)
        for line in lines:
            if line is not None:
                # One entry of the legend a candidate: it shows and hides all of its lines.
                seen = any(trace["legendgroup"] == str(id) for trace in traces)
                traces.append(
                    {
                        **line,
                        "name": name,
                        "legendgroup": str(id),
                        "showlegend": not seen,
                        "marker": {"color": color},
                    }
                )
    return {"data": traces, "layout": _layout()} if traces else None


def _line(
    row: CandidateEntry, metric: str, way: tuple[str, Sequence[Case]], axis: int
) -> dict[str, Json] | None:
    """Return a trace, or None if fewer than two of its points have a value."""
    dash, cases = way
    measured = (
        (case, row.metrics.get(f"{metric}{case.suffix}"))
        for case in sorted(cases, key=lambda case: case.before)
    )
    points = [(case, m.value, m) for case, m in measured if m is not None and m.value is not None]
    if len(points) < 2:
        return None
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [case.before for case, _, _ in points],
        "y": [value for _, value, _ in points],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "thickness": 1,
            "width": 3,
            "array": [_end(m.high, value) for _, value, m in points],
            "arrayminus": [-_end(m.low, value) for _, value, m in points],
        },
        "line": {"dash": dash, "width": 1.6},
        "text": [
            f"context {case.context} tokens, prompt {case.prompt} tokens" for case, _, _ in points
        ],
        "hovertemplate": "%{text}: %{y:.4g} ms",
        "xaxis": "x" if axis == 1 else f"x{axis}",
        "yaxis": "y" if axis == 1 else f"y{axis}",
    }


def _end(end: float | None, value: float) -> float:
    return 0.0 if end is None else end - value


def _name(row: CandidateEntry, best: int | None, baseline: int | None) -> str:
    """Return a line's name; texts are escaped, because Plotly reads HTML elements in it."""
    steps = " › ".join(step.name + _shown(step.params) for step in row.recipe)
    words = f"{row.id} {steps or 'unchanged'}, {counted(row.runtime.threads, 'thread')}"
    words += further_settings(row.runtime.settings)
    what = "the pick: " if row.id == best else "baseline: " if row.id == baseline else ""
    cut = words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"
    return html.escape(what + cut)


def _shown(params: Mapping[str, Json]) -> str:
    given = ", ".join(str(v) for k, v in params.items() if k != "train")
    return f" ({given})" if given else ""


def _layout() -> dict[str, Json]:
    axes: dict[str, Json] = {}
    for number, (_, title) in enumerate(PANELS, start=1):
        end = "" if number == 1 else str(number)
        left = (number - 1) * 0.54
        axes[f"xaxis{end}"] = {
            "title": {"text": "number of preceding tokens"},
            "rangemode": "tozero",
            "domain": [left, left + 0.46],
            "anchor": f"y{end}",
            "zeroline": False,
        }
        axes[f"yaxis{end}"] = {
            "title": {"text": title},
            "rangemode": "tozero",
            "anchor": f"x{end}",
            "zeroline": False,
        }
    return {
        **axes,
        "margin": {"l": 60, "r": 20, "t": 10, "b": 50},
        "legend": {"orientation": "h", "y": -0.22},
        **CLEAR,
    }
