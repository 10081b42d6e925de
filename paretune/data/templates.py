"""Templates of prompts, answers and texts: columns in braces, everything else as it stands.

A column's name is taken as it is written: it may hold dots, spaces, digits, colons. `{{` and `}}`
stand for braces themselves, so that a name holds none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Piece:
    """One part of a template.

    Attributes:
        text: Literal text, or a column's name.
        column: Whether it is a column's name.
    """

    text: str
    column: bool


@dataclass(frozen=True)
class Filled:
    """A template with one row's values in it.

    Attributes:
        text: The whole.
        span: Where the longest value lies in it; (0, 0) if there is none.
    """

    text: str
    span: tuple[int, int]


@lru_cache(maxsize=256)
def pieces_of(template: str) -> tuple[Piece, ...]:
    """Return a template's parts in order.

    Raises:
        ValueError: A brace without its other one, or no name between them.
    """
    found: list[Piece] = []
    literal = ""
    at = 0
    while at < len(template):
        sign = template[at]
        if template[at : at + 2] in ("{{", "}}"):
            literal += sign
            at += 2
        elif sign == "}":
            raise ValueError(
                f"template {template!r}: '}}' at character {at + 1} closes nothing; expected a "
                "column's name in braces, or '}}' for a brace itself"
            )
        elif sign == "{":
            end = template.find("}", at)
            name = template[at + 1 : end] if end >= 0 else template[at + 1 :]
            if end < 0 or not name.strip() or "{" in name:
                raise ValueError(
                    f"template {template!r}: expected a column's name in braces, found {name!r} at "
                    f"character {at + 1}; '{{{{' and '}}}}' stand for braces themselves, and a "
                    "column whose name holds braces must be renamed"
                )
            if literal:
                found.append(Piece(literal, False))
                literal = ""
            found.append(Piece(name, True))
            at = end + 1
        else:
            literal += sign
            at += 1
    return (*found, Piece(literal, False)) if literal else tuple(found)


def columns_of(template: str) -> tuple[str, ...]:
    """Return the columns that a template names, in order.

    Raises:
        ValueError: The template is not literal text and columns in braces.
    """
    return tuple(piece.text for piece in pieces_of(template) if piece.column)


def fill(template: str, values: Mapping[str, str]) -> Filled:
    """Put one row's values into a template.

    Args:
        template: A valid one.
        values: Every column that it names, as text.
    """
    parts: list[str] = []
    length = 0
    longest = (0, 0)
    for piece in pieces_of(template):
        part = values[piece.text] if piece.column else piece.text
        if piece.column and len(part) > longest[1] - longest[0]:
            longest = (length, length + len(part))
        parts.append(part)
        length += len(part)
    return Filled("".join(parts), longest)
