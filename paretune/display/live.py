"""What a user sees while a search runs: a live panel on a terminal, plain lines elsewhere.

Nothing is redrawn by a clock: the panel is drawn when something happens, and never while
something is timed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from paretune.core.candidate import Candidate, describe, short
from paretune.core.jsontools import Json
from paretune.core.os_errors import printable
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.progress import RECENT_S

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    from paretune.core.progress import Progress as Step
    from paretune.search.progress import Progress

_REDRAWN_EVERY_S = 0.5


@dataclass(frozen=True)
class Opening:
    """What a display shows when a search begins.

    Attributes:
        name: The study's name.
        total: Maximum number of candidates, if known.
        time_s: Seconds that are left; None: no limit.
        resumed: Number of existing outcomes.
        in_common: ``(pass, parameter)`` to the value that every candidate has: shown once, not in
            every line.
    """

    name: str
    total: int | None = None
    time_s: float | None = None
    resumed: int = 0
    in_common: Mapping[tuple[str, str], Json] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return what a search begins with on the screen."""
        parts = [f"searching {self.name}"]
        if self.total is not None:
            parts.append(f"at most {self.total} candidates")
        if self.time_s is not None:
            parts.append(f"{clock(self.time_s)} left")
        if self.resumed:
            parts.append(f"continuing after {self.resumed} outcomes")
        shown = [
            f"{name}.{param}={short(value)}"
            for (name, param), value in self.in_common.items()
            if param != "train"
        ]
        return [", ".join(parts)] + (
            [f"the same in all candidates: {', '.join(shown)}"] if shown else []
        )


class Display(Protocol):
    """What a search reports to (the engine's `Watcher`, with a beginning and an end)."""

    def start(self, opening: Opening) -> None:
        """A search begins."""

    def candidate(self, id: int, candidate: Candidate) -> None:
        """A candidate begins."""

    def step(self, progress: Step) -> None:
        """A sign of life from the worker."""

    def timing(self, on: bool) -> None:
        """Something is being timed from now on (or no more)."""

    def outcome(self, outcome: TrialResult, best: TrialResult | None, front: int) -> None:
        """A candidate ended."""

    def note(self, text: str) -> None:
        """One line for the user."""

    def finish(self, lines: list[str]) -> None:
        """The search is over."""


class Quiet:
    """Shows nothing.

    Attributes:
        device: What the next event is about, where a study has several devices; empty: all of them.
    """

    device = ""

    @property
    def about(self) -> str:
        """What a line begins with."""
        return f"{self.device}: " if self.device else ""

    def start(self, opening: Opening) -> None:
        """Show nothing."""

    def candidate(self, id: int, candidate: Candidate) -> None:
        """Show nothing."""

    def step(self, progress: Step) -> None:
        """Show nothing."""

    def timing(self, on: bool) -> None:
        """Show nothing."""

    def outcome(self, outcome: TrialResult, best: TrialResult | None, front: int) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def finish(self, lines: list[str]) -> None:
        """Show nothing."""


class Plain(Quiet):
    """Prints one line per event at once: for logs and pipes."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._hidden: frozenset[tuple[str, str]] = frozenset()

    def _say(self, text: str) -> None:
        print(printable(text), flush=True)

    def start(self, opening: Opening) -> None:
        """Print the opening lines."""
        self._begin = time.monotonic()  # the time limit is counted from here, too
        self._hidden = frozenset(opening.in_common)
        for line in opening.lines():
            self._say(line)

    def outcome(self, outcome: TrialResult, best: TrialResult | None, front: int) -> None:
        """Print how a candidate ended, and the best candidate so far."""
        leads = "" if best is None else f"  [best so far: {best.id}; front: {front}]"
        stamp = clock(time.monotonic() - self._begin)
        self._say(f"{stamp}  {self.about}{result_line(outcome, self._hidden)}{leads}")

    def note(self, text: str) -> None:
        """Print a note."""
        self._say(text)

    def finish(self, lines: list[str]) -> None:
        """Print the last lines."""
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
        self._hidden: frozenset[tuple[str, str]] = frozenset()
        self._total: int | None = None
        self._time_s: float | None = None
        self._ended = 0
        self._counts: dict[str, int] = {}
        self._running = ("", "")
        self._best: TrialResult | None = None
        self._best_on = ""
        self._front = 0
        self._so_far = ""

    def start(self, opening: Opening) -> None:
        """Begin to draw."""
        from rich.live import Live

        self._begin = time.monotonic()  # the time limit is counted from here, too
        self._total, self._time_s, self._ended = opening.total, opening.time_s, opening.resumed
        self._hidden = frozenset(opening.in_common)
        for line in opening.lines():
            self._print(line, "")
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()
        self._draw()

    def candidate(self, id: int, candidate: Candidate) -> None:
        """Show what runs."""
        self._running = (f"{self.about}{id}: {describe(candidate, self._hidden)}", "starting")
        self._draw()

    def step(self, progress: Step) -> None:
        """Show the progress, unless something is timed."""
        share = f" {progress.done}/{progress.total}" if progress.total else ""
        self._running = (self._running[0], f"{progress.step}{share} {progress.note}".rstrip())
        if not self._still and time.monotonic() - self._drawn > _REDRAWN_EVERY_S:
            self._draw()

    def timing(self, on: bool) -> None:
        """Stop or resume redrawing."""
        if on and not self._still:
            self._running = (self._running[0], "timing (the display is paused)")
            self._draw()
        self._still = on

    def outcome(self, outcome: TrialResult, best: TrialResult | None, front: int) -> None:
        """Print how a candidate ended above the panel."""
        self._ended += 1
        kind = outcome.kind.value
        self._counts[kind] = self._counts.get(kind, 0) + 1
        self._best, self._best_on, self._front = best, self.about, front
        line = f"{self.about}{result_line(outcome, self._hidden)}"
        self._print(line, _STYLE.get(outcome.kind, "yellow"))
        self._draw()

    def so_far(self, progress: Progress, spent_s: float) -> None:
        """Show when the best was found, and what the last minutes gained."""
        if progress.found_s is None:
            return
        recent = min(RECENT_S, spent_s)
        gained = progress.gained_since(spent_s - recent)
        self._so_far = (
            f"{self.about}best found at {clock(progress.found_s)} of {clock(spent_s)}; "
            f"the last {clock(recent)} gained {gained:.1%} of the hypervolume"
        )

    def note(self, text: str) -> None:
        """Print it above the panel."""
        self._print(text, "dim")

    def finish(self, lines: list[str]) -> None:
        """Remove the panel and print the last lines."""
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
        best = self._best
        rows = [
            ("running", self._running[0]),
            ("now", self._running[1]),
            ("ended", f"{self._ended}{of}" + (f" ({counts})" if counts else "")),
            ("time", f"{clock(passed)} passed{left}"),
            (
                "best",
                f"{self._best_on}none is feasible yet"
                if best is None
                else f"{self._best_on}{best.id}: {describe(best.candidate, self._hidden)}",
            ),
            ("", "" if best is None else f"{figures(best)}  (on the Pareto front: {self._front})"),
            ("so far", self._so_far),
        ]
        for name, text in rows:
            table.add_row(name, Text(printable(text)))
        return table


_STYLE = {OutcomeKind.OK: "green", OutcomeKind.SKIPPED: "dim", OutcomeKind.DUPLICATE: "dim"}
_SHOWN = ("accuracy", "exact_match", "perplexity", "decode_ms_p50", "latency_ms_p50", "size_mb")


def clock(seconds: float) -> str:
    """Return seconds as ``1:02`` or ``1:02:03``."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def figures(outcome: TrialResult) -> str:
    """Return an outcome's main figures in one line."""
    shown = []
    for name in _SHOWN:
        m = (outcome.measurements or {}).get(name)
        if m is not None and m.value is not None:
            shown.append(f"{name} {m.value:.4g}")
    return "  ".join(shown)


def result_line(outcome: TrialResult, hidden: frozenset[tuple[str, str]] = frozenset()) -> str:
    """Return an outcome in one line.

    Args:
        outcome: How a candidate ended.
        hidden: Parameters that need not be shown (see `paretune.core.candidate.describe`).
    """
    told = figures(outcome) if outcome.kind is OutcomeKind.OK else (outcome.reason or "")
    first = told.splitlines()[0] if told else ""
    described = describe(outcome.candidate, hidden)
    return f"{outcome.id:>4} {outcome.kind.value:<10} {described}  {first}"


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
