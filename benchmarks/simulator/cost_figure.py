"""What a search costs over the number of its trials, as an SVG of three panels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from svg_file import save_svg

_WIDTH, _HEIGHT, _LEFT, _TOP, _KEY = 520, 170, 64, 34, 110
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")
_PANELS = (
    ("ask_s", "seconds of an ask (median of a twentieth)", True),
    ("engine_ms", "processor milliseconds of a trial, beside the ask", False),
    ("memory_mb", "MB that the process holds", False),
)


def draw(found: Mapping[str, Mapping[str, Any]], path: Path) -> Path:
    """Write the figure; returns its path.

    Args:
        found: By strategy, ``parts``: each has ``trials`` and the three values.
        path: Of the SVG.
    """
    most = max((part["trials"] for told in found.values() for part in told["parts"]), default=1)
    parts = []
    for place, (key, title, logarithmic) in enumerate(_PANELS):
        lines = {
            name: [(p["trials"], p[key]) for p in told["parts"]] for name, told in found.items()
        }
        parts.append(_panel(title, lines, most, place * (_HEIGHT + 2 * _TOP), logarithmic))
    width, height = _LEFT + _WIDTH + _KEY, len(_PANELS) * (_HEIGHT + 2 * _TOP) + 10
    return save_svg(path, width, height, parts)


def _panel(
    title: str,
    lines: Mapping[str, list[tuple[int, float]]],
    most: int,
    top: float,
    logarithmic: bool,
) -> str:
    values = [value for line in lines.values() for _, value in line if value > 0] or [1.0]
    low = 10.0 ** math.floor(math.log10(min(values))) if logarithmic else 0.0
    high = 10.0 ** math.ceil(math.log10(max(values))) if logarithmic else 1.05 * max(values)
    high = max(high, 10 * low) if logarithmic else high
    scale: Callable[[float], float] = math.log10 if logarithmic else float

    def y(value: float) -> float:
        share = (scale(max(value, low)) - scale(low)) / (scale(high) - scale(low))
        return top + _TOP + (1 - share) * _HEIGHT

    def x(trials: float) -> float:
        return _LEFT + trials / most * _WIDTH

    bottom, right = top + _TOP + _HEIGHT, _LEFT + _WIDTH
    parts = [f'<text x="{_LEFT}" y="{top + 20}" font-weight="bold">{title}</text>']
    ticks = (
        [10.0**n for n in range(round(math.log10(low)), round(math.log10(high)) + 1)]
        if logarithmic
        else [high * n / 4 for n in range(5)]
    )
    for tick in ticks:
        parts.append(f'<path d="M{_LEFT} {y(tick):.1f} H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="4" y="{y(tick) + 4:.1f}">{tick:.3g}</text>')
    for share in (0.25, 0.5, 0.75, 1.0):
        parts.append(
            f'<text x="{x(share * most) - 16:.1f}" y="{bottom + 16}">{share * most:,.0f}</text>'
        )
    for place, (name, line) in enumerate(lines.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        drawn = " ".join(f"{x(trials):.1f},{y(value):.1f}" for trials, value in line)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(
            f'<text x="{right + 10}" y="{top + _TOP + 15 * (place + 1)}" fill="{colour}">'
            f"{name}</text>"
        )
    return "".join(parts)
