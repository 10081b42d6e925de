"""What several searches show on one display: each line names its device."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from paretune.core.candidate import Candidate
from paretune.core.result import TrialResult
from paretune.search.progress import Progress, ShowsProgress

if TYPE_CHECKING:
    from paretune.core.progress import Progress as Step
    from paretune.display.live import Display


class SharedDisplay:
    """A display that several searches report to, from threads of their own.

    Args:
        display: Where everything is shown.
    """

    def __init__(self, display: Display) -> None:
        self.display = display
        self.lock = threading.Lock()
        self.timing: set[str] = set()
        """The devices on which something is timed."""

    def tell(self, lines: Mapping[str, Sequence[str]]) -> None:
        """Show notes by device: those of all of them once, without a name."""
        for line in dict.fromkeys(line for each in lines.values() for line in each):
            names = [name for name, each in lines.items() if line in each]
            for name in [""] if len(names) == len(lines) else names:
                DeviceWatcher(self, name).note(line)


class DeviceWatcher:
    """What one of the searches reports to.

    Args:
        shared: The display of all.
        name: The device; empty: the line is about all of them.
    """

    def __init__(self, shared: SharedDisplay, name: str) -> None:
        self._shared = shared
        self._name = name

    def candidate(self, id: int, candidate: Candidate) -> None:
        """A candidate begins."""
        with self._shared.lock:
            self._about()
            self._shared.display.candidate(id, candidate)

    def step(self, progress: Step) -> None:
        """A sign of life from the worker."""
        with self._shared.lock:
            self._shared.display.step(progress)

    def timing(self, on: bool) -> None:
        """Something is being timed: the display keeps still while any device times."""
        with self._shared.lock:
            timed = self._shared.timing
            before = bool(timed)
            (timed.add if on else timed.discard)(self._name)
            if before != bool(timed):
                self._shared.display.timing(on)

    def outcome(self, outcome: TrialResult, best: TrialResult | None, front: int) -> None:
        """A candidate ended."""
        with self._shared.lock:
            self._about()
            self._shared.display.outcome(outcome, best, front)

    def so_far(self, progress: Progress, spent_s: float) -> None:
        """When the best was found, and what the last minutes gained."""
        with self._shared.lock:
            if isinstance(self._shared.display, ShowsProgress):
                self._about()
                self._shared.display.so_far(progress, spent_s)

    def note(self, text: str) -> None:
        """One line for the user."""
        with self._shared.lock:
            self._about("")
            name = f"{self._name}: " if self._name else ""
            self._shared.display.note(f"{name}{text}")

    def _about(self, name: str | None = None) -> None:
        """Say which device the next line is about, where the display tells them apart."""
        if hasattr(self._shared.display, "device"):
            self._shared.display.device = self._name if name is None else name
