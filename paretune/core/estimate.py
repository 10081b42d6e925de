"""What a pass is expected to cost, and how much data it reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """What a pass is expected to cost; None means unknown.

    Attributes:
        bytes_out: Size of what it writes, in bytes.
        peak_memory: Peak resident memory of the job, in bytes.
        seconds: Wall time.
    """

    bytes_out: int | None = None
    peak_memory: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class DataSize:
    """How much there is in a data set.

    Attributes:
        examples: Number of examples.
        characters: Of all their texts together (prompts, answers).
    """

    examples: int
    characters: int
