"""Writes a figure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def save_svg(path: Path, width: float, height: float, parts: Iterable[str]) -> Path:
    """Write a figure on a white ground; returns its path.

    Args:
        path: The file.
        width: Of the figure, in pixels.
        height: The same.
        parts: Its elements.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="#fff"/>'
        + "".join(parts)
        + "</svg>\n",
        encoding="utf-8",
    )
    return path
