"""What a search called as a function reports: lines to the logger ``paretune``."""

from __future__ import annotations

import logging
import time

from paretune.core.os_errors import printable
from paretune.core.result import TrialResult
from paretune.display.live import Opening, Quiet, clock, result_line

LOGGER = logging.getLogger("paretune")


def show_by_default() -> None:
    """Print records on the standard error stream if logging is not configured.

    `logging.getLogger("paretune").setLevel(logging.WARNING)` keeps a search silent.
    """
    if not LOGGER.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        LOGGER.addHandler(handler)
        if LOGGER.level == logging.NOTSET:
            LOGGER.setLevel(logging.INFO)


class Logged(Quiet):
    """Writes one log record per event; notes and warnings have the level WARNING."""

    def __init__(self) -> None:
        show_by_default()
        self._begin = time.monotonic()
        self._hidden: frozenset[tuple[str, str]] = frozenset()

    def start(self, opening: Opening) -> None:
        """Log what begins."""
        self._hidden = frozenset(opening.in_common)
        for line in opening.lines():
            LOGGER.info("%s", printable(line))

    def outcome(self, outcome: TrialResult, best: TrialResult | None, front: int) -> None:
        """Log how a candidate ended, and the best candidate so far."""
        leads = "" if best is None else f"  [best so far: {best.id}; front: {front}]"
        stamp = clock(time.monotonic() - self._begin)
        line = printable(f"{self.about}{result_line(outcome, self._hidden)}")
        LOGGER.info("%s  %s%s", stamp, line, leads)

    def note(self, text: str) -> None:
        """Log a note."""
        LOGGER.warning("%s", printable(text))

    def finish(self, lines: list[str]) -> None:
        """Log the last lines."""
        for line in lines:
            LOGGER.info("%s", printable(line))
