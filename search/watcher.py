"""What receives the events of a search."""

from __future__ import annotations

from typing import Any, Protocol

from paretune.core.candidate import Candidate
from paretune.core.result import TrialResult


class Watcher(Protocol):
    """Receives the events of a search; the live display is one."""

    def candidate(self, id: int, candidate: Candidate) -> None:
        """A candidate begins."""

    def step(self, progress: Any) -> None:
        """A sign of life from the worker."""

    def timing(self, on: bool) -> None:
        """Something is being timed from now on (or no more): keep still."""

    def outcome(self, outcome: TrialResult, best: TrialResult | None, front: int) -> None:
        """A candidate ended."""

    def note(self, text: str) -> None:
        """One line for the user."""
