"""The number of the form that a file of a study has: files of a later version are not misread."""

from __future__ import annotations


class LaterSchemaError(ValueError):
    """A file was written in a form of a later version."""


def expect_schema(found: object, expected: int) -> None:
    """Refuse a file of another form.

    Args:
        found: The number in the file.
        expected: The one that is read here.

    Raises:
        LaterSchemaError: It is another one.
    """
    if found != expected:
        raise LaterSchemaError(f"schema {found}, of a later version; this one reads {expected}")
