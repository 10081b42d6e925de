"""The contract of a target, from one place for the author of one."""

from __future__ import annotations

from paretune.core.device import TargetInfo
from paretune.core.job import Job, JobResult, JobStatus, Limits, TurnsEndedError
from paretune.core.target import Interleaves, Target

__all__ = [
    "Interleaves",
    "Job",
    "JobResult",
    "JobStatus",
    "Limits",
    "Target",
    "TargetInfo",
    "TurnsEndedError",
]
