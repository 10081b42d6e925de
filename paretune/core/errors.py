"""Every error that paretune raises on purpose, and the exit status it ends a command with.

The tree::

    ParetuneError                   1  a bug of ours, when nothing below fits
    ├── UsageError                  2  the configuration or the call is wrong
    │   ├── ConfigError             2  ... at a file, a line and a key
    │   ├── DataError               2  ... in a data file or a split
    │   ├── InputChangedError       2  ... a file that a search reads is no longer what it was
    │   ├── TargetLostError         2  ... a target cannot be reached any more
    │   │   ├── ConnectionLostError 2  ... it was lost while a job ran, which is tried again
    │   │   └── DeviceChangedError  2  ... another device answers in its place
    │   └── NothingFitsError        2  no candidate of the space fits this machine
    ├── NothingFeasibleError        3  searched, and nothing meets the constraints
    ├── StateError                  4  the study or the store is locked, damaged or incomplete
    └── CandidateError                 raised in a worker only: ends one candidate, never a search
        ├── InvalidArtifactError       the artifact was built, but does not load or generate
        ├── TransientError             ended by a cause outside of it: tried again
        ├── PassError                  a pass cannot do what its parameters ask for
        ├── InputTouchedError       a file that it reads was written meanwhile, to the same content
        └── EvaluatorError             an evaluator did not give what it declares

Anything else that escapes is a bug of ours: in the parent it ends the command with 1 and a
traceback; in a worker it becomes the outcome ``failed`` with the exception's type.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
for _kept in "\n\t":
    del _CONTROLS[ord(_kept)]


def without_controls(text: str) -> str:
    r"""Return a text with its control characters as escapes (``\x00``), but for line break and tab.

    Messages quote names from anywhere; a terminal obeys some of their characters, and a program
    that reads them may stop at a NUL.
    """
    return text.replace("\r\n", "\n").translate(_CONTROLS)


class ParetuneError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: What is wrong, where, and what was expected.
        hint: What to do next; shown on a line of its own.
    """

    exit_status = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        message = without_controls(message)
        super().__init__(message)
        self.message = message
        self.hint = None if hint is None else without_controls(hint)

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  {self.hint}"


class UsageError(ParetuneError):
    """The configuration or the call is wrong; nothing was run."""

    exit_status = 2


class ConfigError(UsageError):
    """A configuration file is wrong at a known place.

    Args:
        message: What is wrong and what was expected.
        file: The configuration file as the user named it.
        line: 1-based line in that file.
        key: Dotted path of the key, such as ``passes[0].lora.r``.
        hint: What to do next (often the nearest name).
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        key: str | None = None,
        hint: str | None = None,
    ) -> None:
        place = ":".join(str(part) for part in (file, line) if part is not None)
        where = f"{place}: " if place else ""
        at = f"{key}: " if key else ""
        super().__init__(f"{where}{at}{message}", hint=hint)
        self.detail = message
        self.file = file
        self.line = line
        self.key = key


class DataError(UsageError):
    """A data set cannot be read, is empty, unlabelled, or its splits overlap."""


class InputChangedError(UsageError):
    """A file that a search reads is no longer what it was when the search began."""


class TargetLostError(UsageError):
    """A target that was reached before cannot be reached any more; a search can be resumed."""


class ConnectionLostError(TargetLostError):
    """The connection to a target was lost, or given up, while a job ran there."""


class DeviceChangedError(TargetLostError):
    """What answers for a target is not the device that was reached before."""


class TargetRefusesError(TargetLostError):
    """A machine answers and refuses this user, or has another host key: waiting does not help."""


class NothingFitsError(UsageError):
    """Every candidate of the space was ruled out before any job ran."""


class NothingFeasibleError(ParetuneError):
    """The search ended and no candidate meets every constraint."""

    exit_status = 3


class StateError(ParetuneError):
    """A study or store is locked, damaged, or lacks an artifact."""

    exit_status = 4


class CandidateError(ParetuneError):
    """Raised in a worker: this candidate cannot go on; the search does."""


class InvalidArtifactError(CandidateError):
    """The artifact was built but does not load or does not generate (loader's message inside)."""


class TransientError(CandidateError):
    """A cause outside of the candidate ended a part of its job (a helper process was killed)."""


class PassError(CandidateError):
    """A pass cannot do what its parameters ask for (a target module that matches nothing, say)."""


class InputTouchedError(CandidateError):
    """A file was written while a job read it, and holds what it held: the job is run again."""


class EvaluatorError(CandidateError):
    """An evaluator did not give the measurements that it declares."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest of the known names, or lists them all.

    Args:
        name: What the user wrote.
        known: The names that would have been right.

    Returns:
        ``Did you mean 'x'?`` or ``Known: a, b, c.``
    """
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(names)}."
