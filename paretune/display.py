"""What a user sees while a search runs: a live panel on a terminal, plain lines elsewhere.

Nothing here ticks by itself: the panel is drawn when something happens, and not at all while
something is timed.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol

from paretune.search.candidate import Candidate, describe
from paretune.search.outcome import Outcome, OutcomeKind

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    from paretune.passes.base import Progress

_REDRAWN_EVERY_S = 0.5


class Display(Protocol):
    """What a search reports to (the engine's `Watcher`, with a beginning and an end)."""

    def start(self, name: str, total: int | None, time_s: float | None, resumed: int) -> None:
        """A search begins.

        Args:
            name: The study's name.
            total: Candidates that may be tried at most, as far as that is known.
            time_s: Seconds that are left; None: no limit.
            resumed: Outcomes that are there already.
        """

    def candidate(self, id: int, candidate: Candidate) -> None:
        """A candidate begins."""

    def step(self, progress: Progress) -> None:
        """A sign of life from the worker."""

    def timing(self, on: bool) -> None:
        """Something is being timed from now on (or no more)."""

    def outcome(self, outcome: Outcome, best: Outcome | None, front: int) -> None:
        """A candidate ended."""

    def note(self, text: str) -> None:
        """One line for the user."""

    def finish(self, lines: list[str]) -> None:
        """The search is over."""


class Quiet:
    """Shows nothing."""

    def start(self, name: str, total: int | None, time_s: float | None, resumed: int) -> None:
        """Show nothing."""

    def candidate(self, id: int, candidate: Candidate) -> None:
        """Show nothing."""

    def step(self, progress: Progress) -> None:
        """Show nothing."""

    def timing(self, on: bool) -> None:
        """Show nothing."""

    def outcome(self, outcome: Outcome, best: Outcome | None, front: int) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def finish(self, lines: list[str]) -> None:
        """Show nothing."""


class Plain(Quiet):
    """One line an event, at once: for logs and pipes."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    def _say(self, text: str) -> None:
        print(printable(text), flush=True)

    def start(self, name: str, total: int | None, time_s: float | None, resumed: int) -> None:
        """Say what begins."""
        self._say(opening(name, total, time_s, resumed))

    def outcome(self, outcome: Outcome, best: Outcome | None, front: int) -> None:
        """Say how a candidate ended, and who leads."""
        leads = "" if best is None else f"  [best so far: {best.id}; front: {front}]"
        stamp = clock(time.monotonic() - self._begin)
        self._say(f"{stamp}  {result_line(outcome)}{leads}")

    def note(self, text: str) -> None:
        """Say it."""
        self._say(text)

    def finish(self, lines: list[str]) -> None:
        """Say what came of it."""
        for line in lines:
            self._say(line)


class Panel(Quiet):
    """A panel that is redrawn in place, above it one line for each candidate that ended.

    Args:
        console: A terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._begin = self._drawn = time.monotonic()
        self._still = False
        self._total: int | None = None
        self._time_s: float | None = None
        self._ended = 0
        self._counts: dict[str, int] = {}
        self._running = ("", "")
        self._best: Outcome | None = None
        self._front = 0

    def start(self, name: str, total: int | None, time_s: float | None, resumed: int) -> None:
        """Begin to draw."""
        from rich.live import Live

        self._total, self._time_s, self._ended = total, time_s, resumed
        self._console.print(opening(name, total, time_s, resumed), markup=False, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()
        self._draw()

    def candidate(self, id: int, candidate: Candidate) -> None:
        """Show what runs."""
        self._running = (f"{id}: {describe(candidate)}", "starting")
        self._draw()

    def step(self, progress: Progress) -> None:
        """Show how far it is, unless something is timed."""
        share = f" {progress.done}/{progress.total}" if progress.total else ""
        self._running = (self._running[0], f"{progress.step}{share} {progress.note}".rstrip())
        if not self._still and time.monotonic() - self._drawn > _REDRAWN_EVERY_S:
            self._draw()

    def timing(self, on: bool) -> None:
        """Keep still from now on, or no more."""
        if on and not self._still:
            self._running = (self._running[0], "timing (the display keeps still)")
            self._draw()
        self._still = on

    def outcome(self, outcome: Outcome, best: Outcome | None, front: int) -> None:
        """Print how a candidate ended above the panel."""
        self._ended += 1
        kind = outcome.kind.value
        self._counts[kind] = self._counts.get(kind, 0) + 1
        self._best, self._front = best, front
        self._print(result_line(outcome), _STYLE.get(outcome.kind, "yellow"))
        self._draw()

    def note(self, text: str) -> None:
        """Print it above the panel."""
        self._print(text, "dim")

    def finish(self, lines: list[str]) -> None:
        """Take the panel away and say what came of it."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        for line in lines:
            self._print(line, "")

    def _print(self, text: str, style: str) -> None:
        self._console.print(printable(text), style=style, markup=False, highlight=False)

    def _draw(self) -> None:
        if self._live is None or self._still:
            return
        self._drawn = time.monotonic()
        self._live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="ellipsis", no_wrap=True)
        passed = time.monotonic() - self._begin
        left = "" if self._time_s is None else f", {clock(max(0, self._time_s - passed))} left"
        of = "" if self._total is None else f" of at most {self._total}"
        counts = ", ".join(f"{n} {kind}" for kind, n in sorted(self._counts.items()))
        rows = [
            ("running", self._running[0]),
            ("now", self._running[1]),
            ("ended", f"{self._ended}{of}" + (f" ({counts})" if counts else "")),
            ("time", f"{clock(passed)} passed{left}"),
            ("best", "none is feasible yet" if self._best is None else
             f"{self._best.id}: {figures(self._best)}  (front: {self._front})"),
        ]  # fmt: skip
        for name, text in rows:
            table.add_row(name, Text(printable(text)))
        return table


_STYLE = {OutcomeKind.OK: "green", OutcomeKind.SKIPPED: "dim", OutcomeKind.DUPLICATE: "dim"}
_SHOWN = ("accuracy", "exact_match", "perplexity", "decode_ms_p50", "latency_ms_p50", "size_mb")


def printable(text: str) -> str:
    """Return a text without control characters: it may come from a model, a log or a loader."""
    return "".join(c if c.isprintable() else " " for c in text)


def clock(seconds: float) -> str:
    """Return seconds as ``1:02`` or ``1:02:03``."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def opening(name: str, total: int | None, time_s: float | None, resumed: int) -> str:
    """Return the line that a search begins with."""
    parts = [f"searching {name}"]
    if total is not None:
        parts.append(f"at most {total} candidates")
    if time_s is not None:
        parts.append(f"{clock(time_s)} left")
    if resumed:
        parts.append(f"going on after {resumed} outcomes")
    return ", ".join(parts)


def figures(outcome: Outcome) -> str:
    """Return an outcome's main figures in one line."""
    shown = []
    for name in _SHOWN:
        m = (outcome.measurements or {}).get(name)
        if m is not None and m.value is not None:
            shown.append(f"{name} {m.value:.4g}")
    return "  ".join(shown)


def result_line(outcome: Outcome) -> str:
    """Return an outcome in one line."""
    told = figures(outcome) if outcome.kind is OutcomeKind.OK else (outcome.reason or "")
    first = told.splitlines()[0] if told else ""
    return f"{outcome.id:>4} {outcome.kind.value:<10} {describe(outcome.candidate)}  {first}"


def make_display(*, quiet: bool = False) -> Display:
    """Return the display for where the output goes.

    Args:
        quiet: Show nothing, wherever it goes.
    """
    if quiet:
        return Quiet()
    if not sys.stdout.isatty():
        return Plain()
    from rich.console import Console

    return Panel(Console())
