"""Files of Linux's ``/sys``: a file that is missing, unreadable or not a number has no value."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "PARETUNE_SYSFS"
"""The environment variable that names another place, such as the host's tree in a container."""


def sysfs_root() -> Path:
    """Return where the tree is mounted."""
    return Path(os.environ.get(VARIABLE) or "/sys")


def text_of(file: Path) -> str | None:
    """Return a file's text without the space around it; None: it cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # a core that was switched off, a sensor that does not answer
        return None


def number_of(file: Path) -> int | None:
    """Return the whole number in a file; None: it has none, or cannot be read."""
    text = text_of(file)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def why_unreadable(file: Path) -> str | None:
    """Return why a file cannot be read; None: it can."""
    try:
        with open(file, "rb") as opened:
            opened.read(1)
    except OSError as error:
        return error.strerror or type(error).__name__
    return None


def in_order(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield the entries of a folder that match, by the numbers in their names."""
    try:
        found = list(folder.glob(pattern))
    except OSError:
        return
    yield from sorted(found, key=_by_numbers)


def _by_numbers(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]
