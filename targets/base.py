"""The contract of a target, from one place for the author of one."""

from __future__ import annotations

from paretune.core.device import TargetInfo
from paretune.core.job import (
    Build,
    BuildResult,
    Call,
    Job,
    JobResult,
    JobStatus,
    Limits,
    Measure,
    Smoke,
    TurnsEndedError,
)
from paretune.core.target import Interleaves, Target

__all__ = [
    "Build",
    "BuildResult",
    "Call",
    "Interleaves",
    "Job",
    "JobResult",
    "JobStatus",
    "Limits",
    "Measure",
    "Smoke",
    "Target",
    "TargetInfo",
    "TurnsEndedError",
]
