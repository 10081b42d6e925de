"""A target whose jobs an agent runs, on the far side of a channel.

A launcher gives `AgentTarget` a function that starts an agent (``python -P -m
paretune.targets.agent``, wherever) and returns a `Channel` to it. A channel that breaks ends its
jobs as ``crashed`` and transient; the next job starts an agent again. If that is not possible any
more, the job's result is transient too, and says so (`JobResult.lost`).

After a reconnection, the device must have the fingerprint that it had first. If it was started
again meanwhile, one job is reported as lost, so that the user is informed of it.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

from paretune import __version__
from paretune.core import protocol
from paretune.core.device import TargetInfo, changed
from paretune.core.errors import (
    DeviceChangedError,
    StateError,
    TargetLostError,
    TargetRefusesError,
    UsageError,
)
from paretune.core.job import Build, Job, JobResult, JobStatus
from paretune.core.permissions import Permissions
from paretune.targets.interleave import interleave
from paretune.targets.launchers.channel import Channel, Fetches, Transport
from paretune.targets.launchers.conversation import BrokenError, Conversation, Pending, Seat
from paretune.targets.launchers.far_builds import FarBuilds
from paretune.targets.transports.tasks import Describer

__all__ = ["AgentTarget", "Channel", "Transport"]


class AgentTarget:
    """Runs jobs through an agent.

    Args:
        name: The target's name.
        connect: Starts an agent; raises `UsageError` if it cannot.
        store: Root of the artifact store on the far side; None: none.
        shared: Whether the paths that tasks name exist on the far side.
        permissions: What jobs may do.
        transport: Brings models and files there; None: the folders are shared.
        install: What to do where the far side has no paretune, or another version of it.
        describer: Gives files their digests; None: one of its own.
    """

    far = True
    """Its jobs run with another interpreter (`paretune.core.target.is_far`)."""

    def __init__(
        self,
        name: str,
        connect: Callable[[], Channel],
        *,
        store: Path | None = None,
        shared: bool = True,
        permissions: Permissions = Permissions(),
        transport: Transport | None = None,
        install: str = "",
        describer: Describer | None = None,
    ) -> None:
        self.name = name
        self._connect = connect
        self._hello = protocol.Hello(protocol.VERSION, store, shared, permissions=permissions)
        self._transport = transport
        self._install = install
        self._lock = threading.Lock()
        self._talk: Conversation | None = None
        self._device: TargetInfo | None = None
        self._restarted = False
        self._closed = False
        fetches = transport if isinstance(transport, Fetches) else None
        self._builds = FarBuilds(name, self._submit, describer or Describer(), fetches)

    @property
    def store(self) -> Path | None:
        """Root of an artifact store of its own; None: it is shared, or not known yet."""
        return None if self._hello.shared else self._hello.store

    def info(self) -> TargetInfo:
        """Return what the far side is, and what is free there now.

        Raises:
            UsageError: No agent answers there, or one of another version.
        """
        return replace(self.describe().device, name=self.name)

    def describe(self) -> protocol.Described:
        """Return everything that the far side says of itself.

        Raises:
            UsageError: No agent answers there, or one of another version.
            DeviceChangedError: It is another device than before.
        """
        talk, described = self._conversation()
        if described is None:
            try:
                described = talk.describe(self._hello)
            except BrokenError:
                talk.broken = True
                return self.describe()
            try:
                self._compare(described.device)
            except DeviceChangedError as error:
                talk.give_up(error.message)
                raise
        return described

    def preload(self, packages: Iterable[str]) -> None:
        """Have the agent import what these packages bring before its first job.

        Args:
            packages: Distributions that the jobs use.
        """
        more = {*self._hello.packages, *packages}
        self._hello = replace(self._hello, packages=tuple(sorted(more)))

    def submit(self, job: Job) -> Future[JobResult]:
        """Run a job in a process of its own on the far side.

        Raises:
            UsageError: No agent answers there, or one of another version, and none ever did.
            StateError: The target is closed.
        """
        if isinstance(job.task, Build):
            return self._builds.submit(job)
        return self._submit(job)

    def _submit(self, job: Job) -> Future[JobResult]:
        try:
            return self._run(job, turns=False)[2].future
        except TargetLostError as error:
            future: Future[JobResult] = Future()
            future.set_result(
                JobResult(JobStatus.CRASHED, None, str(error), transient=True, lost=error)
            )
            return future

    def interleave(
        self, jobs: Sequence[Job], order: random.Random, seconds: float | None = None
    ) -> list[JobResult]:
        """Run `Measure` jobs side by side, one of them working at a time.

        Raises:
            TurnsEndedError: A job ended before it had its turns.
            TargetLostError: The far side cannot be reached any more.
            TimeoutError: More than `seconds` were needed; see `cancel`.
        """
        return interleave(self.begin, jobs, order, seconds)

    def cancel(self, future: Future[JobResult] | None = None) -> None:
        """End a job, or all of them; they are ``cancelled`` within a few seconds."""
        self._builds.cancel(future)
        with self._lock:
            talk = self._talk
        if talk is not None:
            talk.cancel(None if future is None else self._builds.there(future))

    def give_up(self, why: str) -> None:
        """End the connection, and its jobs as lost; the next job connects again.

        Args:
            why: What this side has seen.
        """
        with self._lock:
            talk = self._talk
        if talk is not None:
            talk.give_up(why)

    def close(self) -> None:
        """End every job and the agent; may be called again."""
        with self._lock:
            self._closed = True
            talk, self._talk = self._talk, None
        if talk is not None:
            talk.close()
        self._builds.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, job: Job, stack: ExitStack) -> Seat:
        """Start an interleaved job; its turns end when the stack is closed."""
        seat = Seat(*self._run(job, turns=True))
        stack.callback(seat.close)
        return seat

    def _run(self, job: Job, *, turns: bool) -> tuple[Conversation, int, Pending]:
        talk, _ = self._conversation()
        if self._restarted:
            self._restarted = False
            message = f"the target {self.name!r} was started again; what ran there is lost"
            raise TargetLostError(message)
        return (talk, *talk.run(job, turns=turns))

    def _conversation(self) -> tuple[Conversation, protocol.Described | None]:
        """Return the running conversation; of a new one, what the far side said first."""
        with self._lock:
            if self._closed:
                raise StateError("the target is closed", hint="Make a new one.")
            if self._talk is not None and not self._talk.broken:
                return self._talk, None
            if self._talk is not None:
                self._talk.close()
                self._talk = None
            try:
                talk, described = self._begun()
            except UsageError as error:
                why = error.message.removeprefix(f"{self.name}: ")
                if self._device is None:
                    message = f"the target {self.name!r} cannot be used: {why}"
                    raise UsageError(message, hint=error.hint) from error
                message = f"the connection to the target {self.name!r} was lost: {why}"
                refuses = isinstance(error, TargetRefusesError)
                kind = TargetRefusesError if refuses else TargetLostError
                raise kind(message, hint=error.hint) from error
            try:
                self._compare(described.device)
            except DeviceChangedError:
                talk.close()
                raise
            self._talk = talk
            return talk, described

    def _compare(self, now: TargetInfo) -> None:
        """Note what answers first; compare what answers later with it.

        Raises:
            DeviceChangedError: It is another device.
        """
        before = self._device
        if before is not None and before.fingerprint != now.fingerprint:
            raise DeviceChangedError(
                f"the target {self.name!r} is not the device that it was: "
                f"{', '.join(changed(before, now))}",
                hint="No value is valid for both. Restore what has changed there; for the device "
                "as it is now, start another study (`--study DIR`).",
            )
        if before is not None and "" not in (boots := {before.boot_id, now.boot_id}):
            self._restarted = self._restarted or len(boots) == 2
        self._device = now

    def _begun(self) -> tuple[Conversation, protocol.Described]:
        """Start an agent, and ask what it is.

        Raises:
            UsageError: No agent answers there, or one of another version.
        """
        talk = Conversation(self.name, self._connect(), self._transport)
        try:
            described = talk.describe(self._hello)
        except BrokenError as error:
            talk.close()
            reason = talk.reason()
            missing = re.search(r"No module named '([\w.]+)'", reason)
            if missing is not None:
                reason = f"its Python interpreter lacks the module {missing[1]!r}"
                if missing[1].partition(".")[0] == "paretune":
                    reason = f"paretune is not installed where {self.name!r} runs"
            raise UsageError(reason, hint=self._install) from error
        if (described.protocol, described.version) != (protocol.VERSION, __version__):
            talk.close()
            raise UsageError(
                f"paretune of {self.name} is {described.version} (protocol "
                f"{described.protocol}), this one {__version__} (protocol {protocol.VERSION})",
                hint=self._install,
            )
        return talk, described
