"""Keeps ``study.db`` beside a search without ever ending it: it is a mirror, not the truth."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from paretune.core.pace import Pace
from paretune.core.result import TrialResult

Violations = Callable[[TrialResult], Sequence[float]]


class Mirrored(Protocol):
    """What is kept (`paretune.search.mirror.Mirror`)."""

    def rebuild(self, outcomes: Sequence[TrialResult], violations: Violations = ...) -> None:
        """Rewrite the file."""

    def add(self, outcome: TrialResult, violations: Sequence[float] = ()) -> None:
        """Add one outcome."""

    def close(self) -> None:
        """Let go of the file."""

    def discard(self) -> None:
        """Remove the file."""


class MirrorKeeper:
    """A mirror that may fail: locked by another program, on a full disk, damaged, not writable.

    After the first failure it is left alone and rewritten at the end. While a search runs it
    may be some seconds old: Optuna takes as long for a trial as a short candidate does.

    Args:
        make: Makes the mirror; imports what it is written with.
        note: Shows the user one line.
    """

    def __init__(self, make: Callable[[], Mirrored], note: Callable[[str], Any]) -> None:
        self._note = note
        self._behind = False
        self._mirror: Mirrored | None = None
        self._waiting: list[tuple[TrialResult, Sequence[float]]] = []
        self._pace = Pace()
        self._attempt(lambda: self._made(make))

    def _made(self, make: Callable[[], Mirrored]) -> None:
        self._mirror = make()

    def outdate(self) -> None:
        """Have it rewritten at the end: outcomes that it holds have changed."""
        self._behind = True

    def begin(self, outcomes: Sequence[TrialResult], violations: Violations) -> None:
        """Rewrite it from the outcomes of a study."""
        self._attempt(lambda: self._rebuild(outcomes, violations))

    def add(self, outcome: TrialResult, violations: Sequence[float]) -> None:
        """Add one outcome, now or with a later one, unless the file is behind already."""
        if self._mirror is None or self._behind:
            return
        self._waiting.append((outcome, violations))
        if self._pace.due():
            with self._pace:
                self._attempt(self._add_waiting)

    def _add_waiting(self) -> None:
        while self._mirror is not None and self._waiting:
            self._mirror.add(*self._waiting.pop(0))

    def finish(self, outcomes: Sequence[TrialResult], violations: Violations) -> None:
        """Rewrite it if it is behind, and close it."""
        if self._mirror is None:
            return
        if not self._behind:
            self._attempt(self._add_waiting)
        if self._behind:
            self._attempt(lambda: self._rebuild(outcomes, violations), last=True)
        self._attempt(self._mirror.close, last=True)

    def _rebuild(self, outcomes: Sequence[TrialResult], violations: Violations) -> None:
        if self._mirror is not None:
            self._mirror.rebuild(outcomes, violations)

    def _make_room(self) -> None:
        """Remove a mirror that filled the disk: what is left belongs to the outcomes."""
        if self._mirror is not None:
            with contextlib.suppress(Exception):  # as likely to fail as what went before
                self._mirror.discard()

    def _attempt(self, work: Callable[[], None], *, last: bool = False) -> None:
        try:
            work()
        # Whatever the database, its driver or Optuna raise: the search does not depend on it.
        except Exception as error:
            told = _reason(error)
            if "full" in told or "No space" in told or "quota" in told:
                self._make_room()
            then = (
                "everything else is there; the same command again writes it"
                if last
                else "the search continues, and rewrites it at the end"
            )
            self._note(f"note: study.db cannot be written ({told}); {then}")
            self._behind = True


def _reason(error: BaseException) -> str:
    """Return what was wrong: what the system or SQLite said, beneath what others made of it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (OSError, sqlite3.Error)):
            error = seen
        seen = seen.__cause__ or seen.__context__
    words = error.strerror if isinstance(error, OSError) else None
    return words or str(error).partition("\n")[0][:200] or type(error).__name__
