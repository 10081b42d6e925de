"""The class that a network chooses, by its output for one row.

The module is part of a package, too (`paretune.study.raw_rows`): of paretune it imports nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def is_class(output: Any) -> bool:
    """Return whether an output is the class itself: one whole number, name, or true or false."""
    return bool(output.size == 1 and output.dtype.kind in "biuOUS")


def chosen_class(output: Any, labels: Sequence[str] | None) -> str:
    """Return the class with the highest score, or that the output is.

    Args:
        output: A numpy array for one row.
        labels: Names of the classes, in the order of the output; None: they are numbers.
    """
    if is_class(output):
        value = output.reshape(-1)[0]
        value = int(value) if output.dtype.kind == "b" else value
        number = value.decode() if isinstance(value, bytes) else str(value)
    else:
        number = str(int(output.reshape(-1).argmax()))
    known = labels is not None and number.isdecimal() and int(number) < len(labels)
    return labels[int(number)] if known and labels is not None else number
