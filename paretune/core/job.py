"""A job: one piece of work for a worker process, and its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from paretune.core.jsontools import Json
from paretune.core.progress import Progress

JOB_MEMORY_SHARE = 0.9
"""Share of the free memory that a job without a limit of its own may use."""


@dataclass(frozen=True)
class Limits:
    """What a job may use.

    Attributes:
        seconds: Wall time; None: no limit.
        memory: Resident bytes of the job's whole process tree; None: no limit.
    """

    seconds: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Job:
    """One piece of work for a worker process.

    Attributes:
        kind: ``build`` or ``measure`` (see ``targets/worker/main.py`` for their payloads).
        payload: JSON-able arguments.
        limits: Time and memory.
        log: File that the worker's output is appended to; None: thrown away.
        on_progress: Called in the parent for each sign of life.
    """

    kind: str
    payload: Mapping[str, Json]
    limits: Limits = Limits()
    log: Path | None = None
    on_progress: Callable[[Progress], None] | None = None


class JobStatus(StrEnum):
    """How a job ended; each but ``ok`` is also the outcome of the candidate it ran for."""

    OK = "ok"
    INVALID = "invalid"
    FAILED = "failed"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class JobResult:
    """What came back from a job.

    Attributes:
        status: How it ended.
        value: The worker's JSON result, if ``ok``.
        reason: Why not, in words: exception type and message, signal's name, the limit hit.
        seconds: Wall time.
        peak_memory: Largest resident size seen of the process tree, in bytes.
        transient: True if the cause lay outside of the job (the disk was full, others held the
            memory, something killed it): the same job may end otherwise another time.
        limits: What was in force, the target's own limit of memory included.
    """

    status: JobStatus
    value: Any = None
    reason: str | None = None
    seconds: float = 0.0
    peak_memory: int = 0
    transient: bool = False
    limits: Limits = Limits()


_ROOM_SHARE = 0.5
"""Share of the free memory that models which take turns may fill together."""


_LOADED, _RUNTIME_BYTES = 1.5, 400_000_000
"""A loaded model's size over its files' (prepacked weights lie beside them), and the rest."""


class TurnsEndedError(Exception):
    """A job ended before it had its turns.

    Attributes:
        number: Which of the jobs, from 0.
        result: How it ended.
    """

    def __init__(self, number: int, result: JobResult) -> None:
        super().__init__(f"job {number} ended: {result.status}: {result.reason}")
        self.number = number
        self.result = result


def fit_together(sizes: Sequence[int], free: int) -> bool:
    """Return whether models can all be loaded at the same time.

    Args:
        sizes: Bytes of each model's files.
        free: Bytes of memory that are free.
    """
    return sum(_LOADED * size + _RUNTIME_BYTES for size in sizes) <= _ROOM_SHARE * free
