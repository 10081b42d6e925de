"""The contract of a target: what it is, and how it runs jobs."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from paretune.core.jsontools import Json, digest
from paretune.passes.base import Progress

JOB_MEMORY_SHARE = 0.9
"""Share of the free memory that a job without a limit of its own may use."""


@dataclass(frozen=True)
class TargetInfo:
    """What a device is: the facts that a measurement is valid for.

    Attributes:
        name: Target's name, such as ``local``.
        processor: Model name of the processor.
        cores: Physical cores that may be used.
        logical_cores: Logical cores that may be used.
        memory: Main memory in bytes.
        memory_free: Memory free when it was asked, in bytes (not part of the fingerprint).
        disk_free: Disk free where the store lies, in bytes (not part of the fingerprint).
        gpus: Names of the GPUs found.
        os: Operating system and kernel release.
        python: Python's version.
        packages: Versions of the packages that a measurement depends on.
        providers: Execution providers found: ``cpu``, ``cuda``, ``dml``.
        flags: Instruction sets that matter (``avx2``, ``avx512f``, ...).
    """

    name: str
    processor: str = ""
    cores: int = 1
    logical_cores: int = 1
    memory: int = 0
    memory_free: int = 0
    disk_free: int = 0
    gpus: tuple[str, ...] = ()
    os: str = ""
    python: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    providers: tuple[str, ...] = ("cpu",)
    flags: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Digest of all that a speed depends on (not of what is free just now)."""
        fingerprint: str = self.to_json()["fingerprint"]
        return fingerprint

    def to_json(self) -> dict[str, Json]:
        """Return all facts and the fingerprint."""
        facts: dict[str, Json] = {
            "name": self.name,
            "processor": self.processor,
            "cores": self.cores,
            "logical_cores": self.logical_cores,
            "memory": self.memory,
            "memory_free": self.memory_free,
            "disk_free": self.disk_free,
            "gpus": list(self.gpus),
            "os": self.os,
            "python": self.python,
            "packages": dict(self.packages),
            "providers": list(self.providers),
            "flags": list(self.flags),
        }
        return {**facts, "fingerprint": digest(_lasting(facts))}


def _lasting(facts: Mapping[str, Json]) -> dict[str, Json]:
    return {k: v for k, v in facts.items() if k not in ("memory_free", "disk_free")}


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


@runtime_checkable
class Target(Protocol):
    """A place where candidates run."""

    def info(self) -> TargetInfo:
        """Return what the device is; may be slow the first time."""

    def submit(self, job: Job) -> Future[JobResult]:
        """Run a job in a process of its own; a crash, hang or overrun comes back as a result.

        The future's exception is a bug of ours, never something that the job did.
        """

    def cancel(self) -> None:
        """End every running job within a few seconds; their results are ``cancelled``."""

    def close(self) -> None:
        """Release what the target holds; no process of its own stays behind."""


@runtime_checkable
class Interleaves(Protocol):
    """A target that can also run jobs side by side, one of them working at a time."""

    def interleave(
        self, jobs: Sequence[Job], order: random.Random, seconds: float | None = None
    ) -> list[JobResult]:
        """Run ``measure`` jobs in turns (see `paretune.targets.interleave.interleave`)."""
