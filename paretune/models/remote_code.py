"""Code that a model's folder brings: it runs with ``--trust-remote-code`` only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paretune.core.errors import CandidateError
from paretune.core.jsontools import read_model_json

_MAY_BRING_CODE = ("config.json", "tokenizer_config.json")


def brings_code(folder: Path) -> bool:
    """Return whether a Hugging Face folder names Python code of its own (``auto_map``)."""
    files = (folder / name for name in _MAY_BRING_CODE)
    return any("auto_map" in read_model_json(file) for file in files if file.is_file())


@contextmanager
def explained(folder: Path, trusted: bool, kind: type[CandidateError]) -> Iterator[None]:
    """Say what to do, where a library does not load a folder without the code in it.

    Many folders bring code that the library does not need any more: only it can tell.

    Args:
        folder: A Hugging Face folder.
        trusted: Whether its code may run.
        kind: The error to raise then.
    """
    try:
        yield
    except (ImportError, KeyError, OSError, ValueError) as error:
        if trusted or not brings_code(folder):
            raise
        raise kind(
            f"{folder} does not load without the Python code in it, and that is off: {error}",
            hint="Read that code; if you trust it, allow it with --trust-remote-code.",
        ) from error
