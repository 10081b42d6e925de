"""What became of each part of a foreign file, as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import TypeVar

from paretune.core.os_errors import printable

Part = TypeVar("Part")
Status = TypeVar("Status", bound=StrEnum)


def grouped_text(
    parts: Iterable[Part],
    statuses: Iterable[Status],
    status_of: Callable[[Part], Status],
    told: Callable[[Part], Sequence[str]],
) -> str:
    """Return the parts, grouped by status.

    Args:
        parts: Of the file, in their order.
        statuses: In the order of the groups; a part of another status is left out.
        status_of: Says what became of a part.
        told: Returns the lines of a part.
    """
    listed = list(parts)
    lines: list[str] = []
    for status in statuses:
        group = [part for part in listed if status_of(part) is status]
        if group:
            lines += [f"{status} ({len(group)})", *(t for part in group for t in told(part)), ""]
    return "\n".join(map(printable, lines)).rstrip()
