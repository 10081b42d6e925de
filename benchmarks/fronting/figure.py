"""KL over the time of a token, a mark per variant, as an SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from fronting.comparing import OURS, timed
from svg_file import save_svg

from paretune.reporting.figure_style import BASE, OTHERS, PICK

_WIDTH, _HEIGHT, _LEFT, _TOP, _KEY = 760, 460, 70, 40, 150
_COLOURS = {
    OURS: PICK,
    "GenAI builder": BASE,
    "Olive": OTHERS[0],
    "llama.cpp": OTHERS[1],
    "OpenVINO": OTHERS[2],
}
_LEAST = 1e-6
_KL_TICKS, _TIME_TICKS = (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8)


def draw(rows: Mapping[str, Mapping[str, Any]], front: Sequence[str], path: Path) -> Path:
    """Write the figure; returns its path.

    Args:
        rows: The measured rows; those without a time are left out.
        front: The names of the front's members, from the fastest on.
        path: Of the SVG.
    """
    there = timed(rows)
    times = [row["token_ms_p50"] for row in there.values()]
    # What is outside the goal may be as good as exact: it is drawn at the edge.
    floor = min([r["kl_per_token"] for r in there.values() if not r.get("outside")] or [0.0])
    floor = max(floor, _LEAST)
    divergences = [max(row["kl_per_token"], floor) for row in there.values()]
    x = _scale(min(times) / 1.1, max(times) * 1.1, _LEFT, _LEFT + _WIDTH)
    y = _scale(min(divergences) / 1.4, max(divergences) * 1.4, _TOP + _HEIGHT, _TOP)
    bottom, right = _TOP + _HEIGHT, _LEFT + _WIDTH
    parts = []
    for tick in _ticks(min(divergences) / 1.4, max(divergences) * 1.4, _KL_TICKS):
        parts.append(f'<path d="M{_LEFT} {y(tick):.1f} H{right}" stroke="#e2e2e2"/>')
        parts.append(
            f'<text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    for tick in _ticks(min(times) / 1.1, max(times) * 1.1, _TIME_TICKS):
        parts.append(f'<path d="M{x(tick):.1f} {_TOP} V{bottom}" stroke="#e2e2e2"/>')
        parts.append(
            f'<text x="{x(tick):.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>'
        )
    parts.append(f'<text x="{right}" y="{bottom + 34}" text-anchor="end">ms per token</text>')
    parts.append(f'<text x="{_LEFT}" y="{_TOP - 14}">KL from fp32, nats per token</text>')
    steps = [(x(there[n]["token_ms_p50"]), y(max(there[n]["kl_per_token"], floor))) for n in front]
    if steps:
        line = f"M{steps[0][0]:.1f} {steps[0][1]:.1f}" + "".join(
            f" H{across:.1f} V{down:.1f}" for across, down in steps[1:]
        )
        parts.append(f'<path d="{line}" fill="none" stroke="#888" stroke-dasharray="4 3"/>')
    for (name, row), divergence in zip(there.items(), divergences, strict=True):
        across, down = x(row["token_ms_p50"]), y(divergence)
        colour = _COLOURS[row["maker"]]
        fill = "none" if row.get("outside") else colour
        size = 6 if name in front else 4
        told = f"{name}: {row['token_ms_p50']:.2f} ms, KL {row['kl_per_token']:.4f}"
        parts.append(
            f'<circle cx="{across:.1f}" cy="{down:.1f}" r="{size}" fill="{fill}" '
            f'stroke="{colour}" stroke-width="1.5"><title>{escape(told)}</title></circle>'
        )
        if name in front:
            parts.append(
                f'<text x="{across + 8:.1f}" y="{down - 6:.1f}" fill="{colour}" '
                f'font-size="10">{escape(row["name"])}</text>'
            )
    for place, (maker, colour) in enumerate(_COLOURS.items()):
        down = _TOP + 12 + 18 * place
        parts.append(f'<circle cx="{right + 16}" cy="{down - 4}" r="5" fill="{colour}"/>')
        parts.append(f'<text x="{right + 28}" y="{down}">{escape(maker)}</text>')
    down = _TOP + 12 + 18 * len(_COLOURS)
    parts.append(f'<text x="{right + 10}" y="{down}" fill="#666">hollow: outside the goal</text>')
    parts.append(f'<text x="{right + 10}" y="{down + 18}" fill="#666">dashed: the front</text>')
    width, height = _LEFT + _WIDTH + _KEY, _TOP + _HEIGHT + 50
    return save_svg(path, width, height, parts)


def _scale(low: float, high: float, start: float, end: float) -> Any:
    return lambda value: start + math.log(value / low) / math.log(high / low) * (end - start)


def _ticks(low: float, high: float, steps: Sequence[float]) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    each = [step * 10.0**power for power in powers for step in steps]
    return [tick for tick in each if low <= tick <= high]
