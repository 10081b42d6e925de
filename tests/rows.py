"""All rows of a data file at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paretune.data.files import iter_rows


def read_rows(path: Path, format: str | None = None, **how: Any) -> list[dict[str, Any]]:
    """Return what `iter_rows` yields."""
    return [dict(row) for row in iter_rows(path, format, **how)]
