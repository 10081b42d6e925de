"""What a pass that takes long keeps while it runs, so that another run continues from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run at one place.

    Attributes:
        place: How far the run had come, in units of the pass's own (a training: optimizer steps).
        total: How far the whole run goes.
        folder: The files that the pass wrote.
    """

    place: int
    total: int
    folder: Path


class Checkpoints:
    """The checkpoints of one run; this class keeps none, for a pass that runs without a store.

    A pass whose runs can be continued has a method ``resumable(params) -> (whole, share)``: the
    parameters of the same run without a stop, and the share of it after which these parameters
    stop. Runs that differ in the stop only share their checkpoints.

    Attributes:
        stops: Where other runs of the study stop, as given in their parameters: a state there
            will be asked for.
        resumed: Share of this run that was done already where it continued; 0: nothing was.
    """

    stops: tuple[float, ...] = ()
    resumed: float = 0.0

    def at_most(self, place: int) -> Iterator[Checkpoint]:
        """Yield what is kept of places up to that one, the last one first.

        The pass continues from the last one that was yielded, unless it discards it.
        """
        yield from ()

    def discard(self, checkpoint: Checkpoint, why: str) -> None:
        """Remove a checkpoint that cannot be used; a note with the reason is shown."""

    def save(
        self, place: int, total: int, write: Callable[[Path], None], *, stays: bool = False
    ) -> None:
        """Keep the state of a place; it is durable when this returns.

        Args:
            place: How far the run has come.
            total: How far the whole run goes.
            write: Writes the state into an empty folder.
            stays: Keep it when the run goes on or ends; otherwise the next one replaces it.
        """

    def due(self) -> bool:
        """Return whether it is time to save, so that little is lost if this process is killed."""
        return False

    def finish(self) -> None:
        """Remove what only an interrupted run needs: this one has its output."""

    def ending(self) -> AbstractContextManager[Callable[[], bool]]:
        """Return a context in which a request to end this process waits until it is left.

        The context gives a function that returns whether there was one. The pass then saves its
        state and leaves the context soon: there are a few seconds.
        """
        return nullcontext(lambda: False)
