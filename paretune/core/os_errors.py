"""Errors of the operating system as messages: a full disk, a missing permission, too few handles.

An `OSError` that reaches the command line is nearly always caused by the environment and is not a
bug: it is reported with the path and the reason. An error that only a mistake in the code can cause
(a descriptor that was closed, say) is reported as a bug.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from paretune.core.errors import ParetuneError, StateError, UsageError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_KEPT = "What was recorded is kept. Free some space, and run the same command again."
_HINTS = {
    errno.ENOSPC: _KEPT,
    errno.EDQUOT: _KEPT,
    errno.EFBIG: "A file may not grow any further here; `ulimit -f` shows a limit that is set.",
    errno.EMFILE: "Raise the number of files that a process may open: ulimit -n 4096.",
    errno.ENFILE: "The machine has no file handle left: end other programs.",
    errno.ENOMEM: "End other programs, or use a machine with more memory.",
    errno.EAGAIN: "No process can be started: raise `ulimit -u`, or end other programs.",
    errno.EACCES: "Give this user the right, or name another place.",
    errno.EPERM: "Give this user the right, or name another place.",
    errno.EROFS: "Name a place that can be written.",
    errno.ENAMETOOLONG: "Name a shorter one.",
    errno.ENOLCK: "This file system cannot lock files: name a place on another one.",
    errno.ELOOP: "Links lead in a circle there: name the place itself.",
}
_SURROUNDINGS = frozenset(
    {
        *_HINTS,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENOTEMPTY,
        errno.EIO,
        errno.ENXIO,
        errno.ENODEV,
        errno.EBUSY,
        errno.ETXTBSY,
        errno.EXDEV,
        errno.EMLINK,
        errno.ENOSYS,
        errno.EOPNOTSUPP,
        errno.ENOEXEC,
        errno.ETIMEDOUT,
        *(
            getattr(errno, name)
            for name in ("ESTALE", "EREMOTEIO", "ENOMEDIUM", "EHOSTDOWN", "ENOTCONN", "EUCLEAN")
            if hasattr(errno, name)
        ),
    }
)
_NOTHING_LEFT = frozenset({*_FULL, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
"""What a later try may find otherwise; it ends with a state's status wherever it happened."""


def explained(error: BaseException) -> ParetuneError | None:
    """Return the error to end with if the environment caused it; None: a bug of ours.

    Args:
        error: What escaped from a command.
    """
    if isinstance(error, UnicodeError):
        return _unwritable_name(error)
    if isinstance(error, MemoryError):
        return StateError("there is not enough memory", hint=_HINTS[errno.ENOMEM])
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return StateError("no thread can be started", hint=_HINTS[errno.EAGAIN])
    if not isinstance(error, OSError) or error.errno not in _SURROUNDINGS:
        return None
    assert error.errno is not None
    named = [name for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    place = None if not named else Path(os.fsdecode(named[0]))
    reason = error.strerror or os.strerror(error.errno)
    told = reason if place is None else f"{_shown(place)}: {reason}"
    if error.errno in _FULL:
        told = f"the disk is full: {told}"
    hint = _HINTS.get(error.errno)
    if "temporary directory" in reason:
        hint = "Name a folder that can be written: TMPDIR=DIR."
    ours = error.errno in _NOTHING_LEFT or (place is not None and _in_study_or_store(place))
    return StateError(told, hint=hint) if ours or place is None else UsageError(told, hint=hint)


def _shown(place: Path) -> str:
    return "the working folder" if place == Path(".") else f"'{readable(str(place))}'"


def _in_study_or_store(place: Path) -> bool:
    """Return whether a path lies in a study or in an artifact store, by what lies beside it."""
    for folder in (place, *place.absolute().parents):
        try:
            if (folder / "candidates").is_dir() and (folder / ".lock").exists():
                return True
            if (folder / "objects").is_dir() and (folder / "actions").is_dir():
                return True
        except OSError:
            continue
    return False


def _unwritable_name(error: UnicodeError) -> ParetuneError | None:
    """Return what to say of a name that the system's encoding of file names has no sign for."""
    if not isinstance(error, UnicodeEncodeError):
        return None
    surrogates = any(0xD800 <= ord(c) <= 0xDFFF for c in error.object[error.start : error.end])
    if surrogates:
        return UsageError(
            f"the name '{readable(error.object[:200])}' is not UTF-8",
            hint="Rename the file or folder.",
        )
    if error.encoding.replace("-", "") != sys.getfilesystemencoding().replace("-", ""):
        return None
    return UsageError(
        f"the name {error.object[:200]!r} cannot be written in this system's encoding of file "
        f"names, {sys.getfilesystemencoding()}",
        hint="Set PYTHONUTF8=1, or a locale such as LC_ALL=C.UTF-8.",
    )


def readable(text: str) -> str:
    r"""Return a text with the bytes of a name that are not UTF-8 as escapes, such as ``\xe9``."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a character that is no byte of a name either
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(text: str) -> str:
    """Return a text without control characters: it may come from a model, a log or a loader.

    Bytes of a file name that are not UTF-8 are shown as escapes.
    """
    if not text.isascii():
        text = readable(text)
    return "".join(c if c.isprintable() else " " for c in text)
