"""The contract of a target: what it is, and how it runs jobs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from paretune.core.device import TargetInfo
from paretune.core.job import Job, JobResult


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
        """End every running job within a few seconds; their results are ``cancelled``.

        Ours take the future of one job as an argument, too.
        """

    def close(self) -> None:
        """Release what the target holds; no process of its own stays behind."""


@runtime_checkable
class Interleaves(Protocol):
    """A target that can also run jobs side by side, one of them working at a time."""

    def interleave(
        self, jobs: Sequence[Job], order: random.Random, seconds: float | None = None
    ) -> list[JobResult]:
        """Run `Measure` jobs interleaved (see `paretune.targets.interleave.interleave`)."""


@runtime_checkable
class BuildsApart(Protocol):
    """A target that may run builds on another machine than measurements."""

    @property
    def builds_apart(self) -> bool:
        """Whether it does: then builds may continue while a device measures."""


def builds_apart(target: Target) -> bool:
    """Return whether a target's builds and measurements run on different machines."""
    return isinstance(target, BuildsApart) and target.builds_apart


@runtime_checkable
class Moves(Protocol):
    """A target whose jobs have files move to and from this machine."""

    def move_in(self, moving: Callable[[], AbstractContextManager[object]]) -> None:
        """Move files only in such a context, which may wait until nothing is measured here."""


@runtime_checkable
class Preloads(Protocol):
    """A target whose workers are copies of a process that has imported what they need."""

    def preload(self, packages: Iterable[str]) -> None:
        """Import the modules of distributions once, before the first job; returns at once.

        Args:
            packages: What the jobs use. One that is not installed there is passed over: the job
                that needs it meets the error.
        """


def preload(target: Target, packages: Iterable[str]) -> None:
    """Let a target that can do so import once what its jobs use."""
    if isinstance(target, Preloads):
        target.preload(packages)


def is_far(target: Target) -> bool:
    """Return whether a target's jobs run with another interpreter, here or on another machine.

    What surrounds it is asked by a job there; the folders of this machine need not exist there.
    """
    return bool(getattr(target, "far", False))


def shares_folders(target: Target) -> bool:
    """Return whether a target's jobs find this machine's folders under the same paths.

    A far target says so by its attribute ``shares_folders``.
    """
    return not is_far(target) or bool(getattr(target, "shares_folders", False))


def build_slots(target: Target) -> int:
    """Return how many builds a target runs at once, by its attribute ``build_slots``; else 1."""
    slots: int = getattr(target, "build_slots", 1)
    return max(1, slots)


def members_of(target: Target) -> list[Target]:
    """Return the hosts of a target that is several machines (its attribute ``members``).

    Of any other target, return the target itself.
    """
    members: Sequence[Target] = getattr(target, "members", ()) or (target,)
    return list(members)


def builds_on_hosts(target: Target) -> bool:
    """Return whether builds run on several hosts of one target, which shares out their memory."""
    return len(members_of(getattr(target, "build", target))) > 1


def machines_of(target: Target) -> frozenset[str]:
    """Return the boot ids of the machines of a target; empty: one of them is unknown."""
    found = frozenset(member.info().boot_id for member in members_of(target))
    return frozenset() if "" in found else found
