"""Texts of the standard library: what functions and classes of its modules say of themselves."""

from __future__ import annotations

import ast
import random
import re
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_LEAST = 25
"""Characters of a part that says something."""


@cache
def described() -> list[tuple[str, str]]:
    """Return pairs of a summary line and the paragraph after it, in an order that mixes them."""
    found: dict[str, str] = {}
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for summary, more in _of_file(file):
            found.setdefault(summary, more)
    pairs = sorted(found.items())
    random.Random(0).shuffle(pairs)
    return pairs


def _of_file(file: Path) -> Iterator[tuple[str, str]]:
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            text = ast.get_docstring(node) or ""
            parts = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]
            if len(parts) > 1 and min(map(len, parts[:2])) >= _LEAST and ">>>" not in parts[1]:
                yield parts[0], parts[1]
