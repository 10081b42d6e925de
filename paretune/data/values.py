"""How a value of a data file becomes text: in one way, or not at all.

Text is used as it is; whole numbers are written in decimal digits; other numbers as the shortest
decimal that gives them back (``0.1``, ``1.0``, ``1e-07``), decimals with all their digits; booleans
as ``True`` and ``False``. null and NaN are missing. Nothing else is text: a list's or an object's
representation in Python is nothing that anybody wrote.
"""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from typing import Any

_SHOWN_KEYS = 4


class NotTextError(ValueError):
    """A value cannot become text.

    Args:
        what: What it is, such as ``a list of 3 values``.
        hint: What to do.
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


def text_of(value: Any) -> str | None:
    """Return a value as text; None if it is missing.

    Raises:
        NotTextError: It is neither text nor a number nor a boolean.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return _whole(value)
    if hasattr(value, "dtype") and hasattr(value, "item"):  # a scalar of numpy's
        value = value.item()
    if isinstance(value, (bool, int)):
        return str(value)
    if isinstance(value, float):
        return None if math.isnan(value) else _finite(value, repr(value))
    if isinstance(value, Decimal):
        return None if value.is_nan() else _finite(value, format(value, "f"))
    raise NotTextError(*_described(value))


def kind_of(value: Any) -> str:
    """Return what kind of value becomes text here: text, number or boolean."""
    if isinstance(value, str):
        return "text"
    return "booleans" if isinstance(value, bool) else "numbers"


def _whole(text: str) -> str:
    if "\0" in text:
        raise NotTextError("text with a NUL character", "Remove it from the text.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotTextError(
            "text with half of a surrogate pair", "Write the character as UTF-8."
        ) from None
    return text


def _finite(value: float | Decimal, text: str) -> str:
    if not math.isfinite(value):
        raise NotTextError("an infinity", "Leave it empty (null) if the value is missing.")
    return text


def _described(value: Any) -> tuple[str, str]:
    make = "Turn it into text in a column of its own, and name that one."
    if isinstance(value, (list, tuple)):
        turns = bool(value) and isinstance(value[0], dict) and {"role", "from"} & value[0].keys()
        if turns:
            return f"a list of {len(value)} turns", (
                "A conversation goes under `messages: COLUMN`, in place of prompt and answer."
            )
        return f"a list of {len(value)} values", (
            f"{make} (If it is the only one, take the value out of the list.)"
            if len(value) == 1
            else make
        )
    if isinstance(value, dict):
        keys = ", ".join(map(repr, list(value)[:_SHOWN_KEYS]))
        more = ", ..." if len(value) > _SHOWN_KEYS else ""
        return f"an object with the keys {keys}{more}", (
            f"{make} Of pandas, write to_json(FILE, orient='records', lines=True)."
        )
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"{len(value)} bytes", "Decode them to text, and write the file again."
    if isinstance(value, (datetime.date, datetime.time, datetime.timedelta)):
        return f"a {type(value).__name__} ({value})", "Write it as text, in the form you want."
    return f"a {type(value).__name__}", make
