"""The timeline of a study on several devices: who used which machine, from when to when.

A study's ``leases.jsonl`` has a line for each use of a machine (`docs/targets.md`). `conflicts`
checks what it must show: while something is measured on a machine, nothing else of the study runs
there. `as_text` and `as_svg` draw it, with a row for each device and kind of use.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MEASURE = "measure"
_KINDS = (MEASURE, "build", "choose", "move")
_COLORS = {MEASURE: "#0f8a5f", "build": "#c0762b", "choose": "#6b6b6b", "move": "#3367b0"}
_LEFT, _ROW, _WIDTH = 190, 24, 1000
"""Pixels: width of the labels, height of a row, width of the whole time."""


@dataclass(frozen=True)
class Use:
    """A use of a machine.

    Attributes:
        machine: Which one.
        who: For which device.
        kind: ``measure``, ``build``, ``choose`` or ``move``.
        what: The same in more detail.
        begin: Seconds since the epoch.
        end: The same.
    """

    machine: str
    who: str
    kind: str
    what: str
    begin: float
    end: float


def read(file: Path) -> list[Use]:
    """Return the uses that a ``leases.jsonl`` has, in the order of their beginnings."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return sorted((Use(**json.loads(line)) for line in lines), key=lambda use: use.begin)


def conflicts(uses: Sequence[Use]) -> list[tuple[Use, Use]]:
    """Return each pair of uses that ran at the same time on a machine, one of them measuring."""
    found: list[tuple[Use, Use]] = []
    running: dict[str, list[Use]] = {}
    for use in sorted(uses, key=lambda use: use.begin):
        others = [each for each in running.get(use.machine, ()) if each.end > use.begin]
        found += [(each, use) for each in others if MEASURE in (each.kind, use.kind)]
        running[use.machine] = [*others, use]
    return found


def as_text(uses: Sequence[Use], width: int = 100) -> str:
    """Return the timeline as text: a column in which something ran has a ``#``.

    Args:
        uses: What ran.
        width: Columns of the whole time.
    """
    begin, end = _span(uses)
    column = (end - begin) / width
    lines = [f"{end - begin:.0f} s; a column is {column:.1f} s"]
    for who, kind, own in _rows(uses):
        filled = [" "] * width
        for use in own:
            first = int((use.begin - begin) / column)
            last = max(first, int((use.end - begin) / column - 1e-9))
            for at in range(min(first, width - 1), min(last, width - 1) + 1):
                filled[at] = "#"
        busy = sum(use.end - use.begin for use in own)
        lines.append(f"{who[:18]:<18} {kind:<8}|{''.join(filled)}| {len(own):4} in {busy:.0f} s")
    return "\n".join(lines)


def as_svg(uses: Sequence[Use]) -> str:
    """Return the timeline as a picture; what a use was for appears under the mouse pointer."""
    begin, end = _span(uses)
    scale, rows = _WIDTH / (end - begin), _rows(uses)
    height = _ROW * (len(rows) + 2)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 20}" '
        f'height="{height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    step = next(s for s in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1e9) if (end - begin) / s <= 15)
    for number in range(int((end - begin) / step) + 1):
        x = _LEFT + number * step * scale
        parts.append(f'<path d="M{x:.1f} 0V{height - 1.5 * _ROW}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - _ROW}">{number * step:g} s</text>')
    for at, (who, kind, own) in enumerate(rows):
        y = at * _ROW
        parts.append(f'<text x="4" y="{y + 16}">{html.escape(who)}: {kind}</text>')
        for use in own:
            x, long = _LEFT + (use.begin - begin) * scale, (use.end - use.begin) * scale
            told = html.escape(f"{who}: {kind} {use.what}, {use.end - use.begin:.2f} s")
            parts.append(
                f'<rect x="{x:.2f}" y="{y + 3}" width="{max(long, 0.4):.2f}" height="{_ROW - 6}" '
                f'fill="{_COLORS.get(kind, "#999")}"><title>{told}</title></rect>'
            )
    return "\n".join([*parts, "</svg>", ""])


def _span(uses: Sequence[Use]) -> tuple[float, float]:
    begin = min(use.begin for use in uses)
    return begin, max(begin + 1e-3, *(use.end for use in uses))


def _rows(uses: Sequence[Use]) -> list[tuple[str, str, list[Use]]]:
    """Return the uses by kind and device; measurements first."""
    kinds = [*_KINDS, *sorted({use.kind for use in uses} - set(_KINDS))]
    names = list(dict.fromkeys(use.who for use in sorted(uses, key=lambda use: use.begin)))
    found = [
        (who, kind, [use for use in uses if (use.who, use.kind) == (who, kind)])
        for kind in kinds
        for who in names
    ]
    return [row for row in found if row[2]]
