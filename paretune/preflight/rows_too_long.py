"""Errors about rows that do not fit a model's context: all rows in one error, with the cause."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paretune.core.errors import DataError, PassError, UsageError
from paretune.data.example_tokens import TooLongError
from paretune.data.rows import rows_told

_UNKNOWN = 1 << 60


class RowsTooLongError(DataError):
    """Prompts do not fit, even after cutting.

    Attributes:
        needed: Minimum number of tokens of the longest of them.
        told: Text with the rows and the tokens that they need.

    Args:
        wrong: Each row with its error.
    """

    def __init__(self, wrong: Sequence[tuple[int, DataError]]) -> None:
        whole = all_of(wrong)
        super().__init__(whole.message, hint=whole.hint)
        self.needed = max(e.tokens if isinstance(e, TooLongError) else _UNKNOWN for _, e in wrong)
        rows = rows_told([row for row, _ in wrong], ("needs", "need"))
        self.told = f"{rows} {'' if len(wrong) == 1 else 'up to '}{self.needed}"


class ParameterTooLargeError(UsageError):
    """A parameter of an evaluator leaves too little of the context for the prompts.

    Args:
        parameter: Its name.
        message: What is wrong.
        hint: What to do.
    """

    def __init__(self, parameter: str, message: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.parameter = parameter


def all_of(wrong: Sequence[tuple[int, UsageError | PassError]]) -> DataError:
    """Return one error of several rows': the first in full, the others by their numbers."""
    _, first = wrong[0]
    more = "" if len(wrong) == 1 else f"; this concerns {len(wrong)} rows ({_numbers(wrong)})"
    return DataError(first.message + more, hint=first.hint)


def _numbers(wrong: Sequence[tuple[int, Any]]) -> str:
    shown = ", ".join(str(row + 1) for row, _ in wrong[:5])
    return f"{shown}{', ...' if len(wrong) > 5 else ''}"
