"""Files of a study that were damaged, or changed by hand: what they are, and what can be done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paretune.core.errors import StateError
from paretune.core.schemas import LaterSchemaError


@contextmanager
def reading(file: Path, hint: str) -> Iterator[None]:
    """Turn what goes wrong while a file's content is taken apart into a refusal.

    Args:
        file: What is read.
        hint: What to do if it cannot be.

    Raises:
        StateError: The content is not what such a file has.
    """
    try:
        yield
    except LaterSchemaError as error:
        raise StateError(
            f"{file} cannot be read: {error}",
            hint="Use the version of paretune that wrote it, or a later one.",
        ) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StateError(
            f"{file} cannot be read: {type(error).__name__}: {error}", hint=hint
        ) from error
