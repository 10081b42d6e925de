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
    """

    step: str
    done: int
    total: int
    note: str = ""
