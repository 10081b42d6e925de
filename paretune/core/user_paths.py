"""Paths that a user writes: on the command line, in the environment, in a configuration."""

from __future__ import annotations

import os
from pathlib import Path

from paretune.core.errors import StateError, UsageError
from paretune.core.os_errors import readable


def expanded(text: str) -> str:
    """Return a path with ``~`` and ``~user`` at its beginning as that home folder.

    A name such as ``~draft``, where no user has this name, stays as it is.

    Raises:
        UsageError: ``~`` is meant, and there is no home folder.
    """
    if not text.startswith("~"):
        return text
    found = os.path.expanduser(text)
    # Without $HOME and an entry in /etc/passwd the library gives the text back.
    if found.startswith("~") and (text == "~" or text[1] == os.sep):
        raise UsageError(
            f"'{readable(text)}': ~ is this user's home folder, and there is none: $HOME is not "
            "set, and this user is not in /etc/passwd",
            hint="Write the path out, or set HOME.",
        )
    return found


def user_path(text: str | os.PathLike[str]) -> Path:
    """Return the path that a user means.

    Args:
        text: As written; ``~`` is the home folder.

    Raises:
        UsageError: It is empty or no name that a file can have, its name is not UTF-8 (it could
            be neither recorded nor shown), or ``~`` is not known.
    """
    given = os.fspath(text)
    if not given:
        raise UsageError("a path is empty", hint="Write . for the working folder.")
    if "\0" in given:
        raise UsageError(f"{given!r}: no path can hold a zero byte", hint="Name another one.")
    path = Path(expanded(given))
    check_encoding(path)
    return path


def check_encoding(path: Path) -> None:
    """Refuse a path that cannot be written into a file of ours.

    Raises:
        UsageError: It, or the folder that it starts from, is not UTF-8.
    """
    for part in (str(path), os.path.realpath(path)):
        try:
            part.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UsageError(
                f"the path '{readable(part)}' is not UTF-8",
                hint="Rename it (an old archive or a Latin-1 share leaves such names): "
                "convmv -f latin1 -t utf8 --notest NAME.",
            ) from error


def refuse_model_folder(model: Path, study: Path, store: Path) -> None:
    """Refuse to write a study or a store among a model's own files, which would make it another.

    Raises:
        UsageError: One of them is the model's folder; a folder inside it is none.
    """
    for what, place in (("study", study), ("store", store)):
        if os.path.realpath(place) == os.path.realpath(model):
            raise UsageError(
                f"the {what} '{readable(str(place))}' is the model's own folder",
                hint=f"Name another folder with --{what} DIR.",
            )


def home_cache() -> Path | None:
    """Return the user's cache folder; None where there is none."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(named):  # the specification has relative ones ignored
        return Path(named)
    home = os.path.expanduser("~")
    return Path(home) / ".cache" if os.path.isabs(home) else None


def default_store() -> Path:
    """Return ``$PARETUNE_STORE``, else ``paretune`` in the user's cache folder.

    Raises:
        StateError: Neither is known: the user has no home folder.
    """
    named = os.environ.get("PARETUNE_STORE")
    if named:
        return user_path(named)
    cache = home_cache()
    if cache is None:
        raise StateError(
            "there is no folder for artifacts: this user has no home folder ($HOME is not set or "
            "is not an absolute path, and the user has no entry in /etc/passwd)",
            hint="Name a folder with --store DIR or $PARETUNE_STORE.",
        )
    return user_path(cache / "paretune")
