"""Signs of life from a worker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """A sign of life from a worker.

    Attributes:
        step: What runs (``lora``, ``classification:full``).
        done: Units done.
        total: Units in all; 0 if unknown.
        note: One short line, such as ``loss 1.23``.
        waits: Whether the job has not begun: others use its machine.
    """

    step: str
    done: int
    total: int
    note: str = ""
    waits: bool = False
