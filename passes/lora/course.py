"""The course of a training: its losses, where it ends, and which weights are its output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from paretune.core.jsontools import Json


@dataclass
class Losses:
    """What a training run was seen to do.

    Attributes:
        training: The loss of each optimizer step.
        held_out: (steps done, mean loss of the held-out tokens).
    """

    training: list[float] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)

    def smoothed(self, steps: int) -> list[tuple[int, float]]:
        """Return (last step, mean loss) of every so many steps; the last entry may be of fewer."""
        starts = range(0, len(self.training), steps)
        parts = [self.training[start : start + steps] for start in starts]
        return [(start + len(p), sum(p) / len(p)) for start, p in zip(starts, parts, strict=True)]


@dataclass
class Course:
    """What a training is to do, and what it did.

    Attributes:
        total: Optimizer steps of its whole length; the schedule is for these.
        stop: The step where it ends.
        patience: Measurements of the held-out loss without a new lowest one, after which it ends;
            None: it does not end early.
        losses: What it was seen to do.
        best: (step, loss) of the lowest held-out loss.
        stale: Measurements since then.
        ended: Whether it ended early, so that nothing follows.
    """

    total: int
    stop: int
    patience: int | None = None
    losses: Losses = field(default_factory=Losses)
    best: tuple[int, float] | None = None
    stale: int = 0
    ended: bool = False

    def measured(self, step: int, loss: float) -> bool:
        """Take a held-out loss into account; returns whether it is the lowest so far."""
        self.losses.held_out.append((step, loss))
        if self.best is None or loss < self.best[1]:
            self.best, self.stale = (step, loss), 0
            return True
        self.stale += 1
        self.ended = self.patience is not None and self.stale >= self.patience
        return False

    @property
    def step(self) -> int:
        """The step that was done last."""
        return len(self.losses.training)

    @property
    def done(self) -> bool:
        """Whether no further step follows."""
        return self.ended or self.step >= self.stop

    def to_json(self) -> dict[str, Json]:
        """Return what was done; what it is to do is given by the parameters."""
        return {
            "training": self.losses.training,
            "held_out": [list(entry) for entry in self.losses.held_out],
            "best": None if self.best is None else list(self.best),
            "stale": self.stale,
            "ended": self.ended,
        }

    def take(self, value: Mapping[str, Any]) -> None:
        """Continue from what `to_json` gave."""
        self.losses.training[:] = value["training"]
        self.losses.held_out[:] = [(step, loss) for step, loss in value["held_out"]]
        self.best = None if value["best"] is None else (value["best"][0], value["best"][1])
        self.stale, self.ended = value["stale"], value["ended"]
