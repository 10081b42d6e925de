"""Hypervolume over virtual time as an SVG: each search's median and the middle half of its runs."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from simulator.comparison import Run, Runs, Task

_WIDTH, _HEIGHT, _LEFT, _TOP, _KEY = 520, 300, 56, 34, 190
_COLOURS = (
    *("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#e377c2", "#7f7f7f"),
    *("#bcbd22", "#17becf", "#393b79", "#ad494a", "#637939", "#7b4173"),
)
_POINTS = 120


def draw(label: str, todo: Sequence[Task], runs: Runs, folder: Path) -> Path:
    """Write one panel for each problem; returns the file."""
    found: dict[str, dict[str, list[Run]]] = {}
    for task in todo:
        for name in task.names:
            run = runs.find(task.problem, name, task.seed, task.key)
            if run is not None:
                found.setdefault(task.problem.name, {}).setdefault(name, []).append(run)
    names = sorted({name for panel in found.values() for name in panel})
    colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}
    parts = []
    for place, (problem, panel) in enumerate(found.items()):
        parts.append(_panel(problem, panel, colours, place * (_HEIGHT + 2 * _TOP)))
    height = len(found) * (_HEIGHT + 2 * _TOP) + 10
    width = _LEFT + _WIDTH + _KEY
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
    style = 'font-family="sans-serif" font-size="11">'
    path = folder / f"search_power_{label}.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + style + "".join(parts) + "</svg>\n", encoding="utf-8")
    return path


def _panel(
    problem: str, panel: Mapping[str, Sequence[Run]], colours: Mapping[str, str], top: float
) -> str:
    ends = [run.end_s for found in panel.values() for run in found if run.end_s > 0]
    starts = [run.times[0] for found in panel.values() for run in found if run.times]
    low = math.log10(max(1.0, min(starts, default=1.0)))
    high = max(low + 0.1, math.log10(max(ends, default=10.0)))
    times = np.logspace(low, high, _POINTS)

    def x(t: float) -> float:
        return _LEFT + (math.log10(t) - low) / (high - low) * _WIDTH

    def y(share: float) -> float:
        return top + _TOP + (1 - share) * _HEIGHT

    parts = [f'<text x="{_LEFT}" y="{top + 20}" font-weight="bold">{escape(problem)}</text>']
    for share in (0, 0.2, 0.4, 0.6, 0.8, 0.99):
        dash = ' stroke-dasharray="4 3"' if share == 0.99 else ""
        parts.append(
            f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y(share):.1f}" y2="{y(share):.1f}" '
            f'stroke="#ccc"{dash}/><text x="{_LEFT - 34}" y="{y(share) + 4:.1f}">{share:g}</text>'
        )
    for power in range(math.ceil(low), math.floor(high) + 1):
        parts.append(f'<text x="{x(10**power) - 12:.1f}" y="{y(0) + 16:.1f}">10^{power} s</text>')
    for place, (name, found) in enumerate(sorted(panel.items())):
        values = np.array([[_at(run, t) for t in times] for run in found])
        middle = np.median(values, axis=0)
        lower, upper = np.quantile(values, [0.25, 0.75], axis=0)
        band = [f"{x(t):.1f},{y(v):.1f}" for t, v in zip(times, upper, strict=True)]
        band += [f"{x(t):.1f},{y(v):.1f}" for t, v in zip(times[::-1], lower[::-1], strict=True)]
        line = " ".join(f"{x(t):.1f},{y(v):.1f}" for t, v in zip(times, middle, strict=True))
        colour, key = colours[name], top + _TOP + 12 + 15 * place
        parts.append(f'<polygon points="{" ".join(band)}" fill="{colour}" opacity="0.12"/>')
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
        parts.append(
            f'<text x="{_LEFT + _WIDTH + 12}" y="{key}" fill="{colour}">{escape(name)}</text>'
        )
    return "".join(parts)


def _at(run: Run, t: float) -> float:
    """Return the share at a time; after its end a run stays where it was."""
    place = bisect_right(run.times, t)
    return run.volumes[place - 1] if place else 0.0
