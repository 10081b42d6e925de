"""The target ``ray``: the hosts of a Ray cluster, each with an agent of its own.

Builds go to whichever host is free (`paretune.targets.pool`); measurements run on the first host.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from paretune.core import protocol
from paretune.core.device import TargetInfo
from paretune.core.errors import StateError, UsageError
from paretune.core.job import Build, Job, JobResult, JobStatus
from paretune.core.machine_lock import GivenUpError
from paretune.core.machines import Machines
from paretune.core.packages import WORKER
from paretune.core.target import Target
from paretune.targets.interleave import Participant, interleave
from paretune.targets.launchers.installed import InstalledTarget
from paretune.targets.launchers.ray_actor import RAYS_PYTHON
from paretune.targets.launchers.ray_cluster import Cluster, RayHost
from paretune.targets.launchers.wheel import build_wheel
from paretune.targets.pool import Builder, BuildPool
from paretune.targets.transports.host_files import HostTransport
from paretune.targets.transports.shared_folder import SharedFolder
from paretune.targets.transports.shared_place import SharedPlace

_CLOSES_WITHIN_S = 30.0
"""Longer than a job that saves its state may take."""


class RayWorker(InstalledTarget):
    """One host of a cluster.

    Args:
        wheel: Returns the wheel of this paretune.
        name: The worker's name.
        host: The host.
        shared: Part of a folder that it and this machine have; None: there is none.
        options: Those of `InstalledTarget`.
    """

    def __init__(
        self,
        wheel: Callable[[], bytes],
        name: str,
        host: RayHost,
        shared: SharedPlace | None,
        **options: Any,
    ) -> None:
        transport = HostTransport(host) if shared is None else SharedFolder(host, shared)
        transport.stays_ready = shared is None  # the builds of a host come one after another
        super().__init__(name, host, transport, **options)
        self._own_wheel = wheel

    @property
    def _wheel(self) -> bytes:
        return self._own_wheel()


@dataclass(eq=False)
class _Pending:
    """A build that was submitted: it waits for a host, or runs."""

    cancelled: bool = False
    target: Target | None = None
    future: Future[JobResult] | None = None


class RayTarget:
    """Runs jobs on the hosts of a Ray cluster.

    Args:
        store_root: The artifact store of this machine; each host has its own.
        allow_network: Whether jobs may reach out.
        name: The target's name.
        address: ``HOST:PORT`` of the cluster's head, or ``local``: Ray is started here.
        hosts: How many hosts; None: all that have what is asked for.
        resources: What a host must have.
        cpus: CPUs that are reserved on each host; None: all of them.
        slots: Builds at once on each host.
        shared: A folder that this machine and all hosts have at this path, for files that travel;
            None: they travel from host to host.
        python: The interpreter there; None: that of Ray's workers.
        store: The folder there for models and data; by default in the user's cache folder.
        budget: Bytes that it may hold; None: as many as its disk.
        silent_s: After how many seconds without an answer a host is given up, at most 15 s later.
        placed_s: How many seconds Ray may take to start a worker on a host.
    """

    far = True
    """Its jobs run with another interpreter (`paretune.core.target.is_far`)."""

    def __init__(
        self,
        store_root: Path | None = None,
        allow_network: bool = False,
        name: str = "ray",
        address: str = "local",
        hosts: int | None = None,
        resources: Mapping[str, float] | None = None,
        cpus: float | None = None,
        slots: int = 1,
        shared: str | None = None,
        python: str | None = None,
        store: str | None = None,
        budget: int | None = None,
        silent_s: float = 45.0,
        placed_s: float = 60.0,
    ) -> None:
        self.name, self._slots = name, slots
        self._shared = None if shared is None else SharedPlace(Path(shared))
        self.cluster = Cluster(
            name,
            {
                "address": address,
                "hosts": hosts,
                "resources": dict(resources or {}),
                "cpus": cpus,
                "silent_s": silent_s,
                "placed_s": placed_s,
            },
        )
        self._options: dict[str, Any] = {
            "python": python or RAYS_PYTHON,
            "store_root": store_root,
            "store": store,
            "budget": budget,
            "allow_network": allow_network,
            "install": f"Install {', '.join(WORKER)} and a runtime for the interpreter of each "
            "host, or name another interpreter (`python:`).",
        }
        self._lock = threading.RLock()
        self._members: list[RayWorker] | None = None
        self._packages: frozenset[str] = frozenset()
        self._made: BuildPool | None = None
        self._pending: dict[Future[JobResult], _Pending] = {}
        self._moving: Callable[[], AbstractContextManager[object]] | None = None
        self._closed = False

    @property
    def members(self) -> list[RayWorker]:
        """The hosts; each is a target of its own.

        Raises:
            UsageError: The cluster cannot be used.
        """
        with self._lock:
            if self._closed:
                raise StateError("the target is closed", hint="Make a new one.")
            if self._members is None:
                self._open_shared()
                self._members = [
                    RayWorker(
                        lambda: self._wheel,
                        f"{self.name}/{host}",
                        RayHost(self.cluster, host),
                        self._shared,
                        **self._options,
                    )
                    for host in self.cluster.hosts()
                ]
                for member in self._members:
                    member.preload(self._packages)
                if self._moving is not None:
                    self.move_in(self._moving)
            return self._members

    @property
    def build_slots(self) -> int:
        """How many builds run at once."""
        return self._slots * len(self.members)

    def info(self) -> TargetInfo:
        """Return what the first host is, where measurements run.

        Raises:
            UsageError: The cluster cannot be used.
        """
        return replace(self.members[0].info(), name=self.name)

    def describe(self) -> protocol.Described:
        """Return everything that the first host says of itself."""
        return self.members[0].describe()

    def preload(self, packages: Iterable[str]) -> None:
        """Have each host import what these packages bring before its first job."""
        with self._lock:
            self._packages |= {*packages}
            for member in self._members or ():
                member.preload(self._packages)

    def submit(self, job: Job) -> Future[JobResult]:
        """Run a build on a free host, and any other job on the first one, where measurements run.

        No other host can answer a check of the host that measures.

        Raises:
            UsageError: The cluster cannot be used, and never could.
            StateError: The target is closed.
        """
        if not isinstance(job.task, Build):
            return self.members[0].submit(job)
        pool, pending, future = self._pool, _Pending(), Future[JobResult]()
        future.set_running_or_notify_cancel()
        with self._lock:
            self._pending[future] = pending
        tried = threading.Event()
        lost = pool.all_lost
        threading.Thread(
            target=self._build, args=(pool, job, pending, future, tried), daemon=True
        ).start()
        if lost:  # whether a host answers again is known before the caller goes on
            tried.wait()
        return future

    def begin(self, job: Job, stack: ExitStack) -> Participant:
        """Start an interleaved job on the first host; it ends when the stack is closed."""
        return self.members[0].begin(job, stack)

    def interleave(
        self, jobs: Sequence[Job], order: random.Random, seconds: float | None = None
    ) -> list[JobResult]:
        """Run `Measure` jobs on the first host, one of them working at a time.

        Raises:
            TurnsEndedError: A job ended before it had its turns.
            TargetLostError: The host cannot be reached any more.
            TimeoutError: More than `seconds` were needed; see `cancel`.
        """
        return interleave(self.begin, jobs, order, seconds)

    def cancel(self, future: Future[JobResult] | None = None) -> None:
        """End a job, or all of them; they are ``cancelled`` within a few seconds."""
        with self._lock:
            builds = [p for f, p in self._pending.items() if future in (None, f)]
            for each in builds:
                each.cancelled = True
            pool, members = self._made, self._members or []
        for each in builds:
            _cancel(each)
        if pool is not None:
            pool.look_again()
        if not builds or future is None:
            for member in members:
                member.cancel(future)

    def close(self) -> None:
        """End every job, the agents, and what was started here of Ray; may be called again."""
        with self._lock:
            self._closed = True
            pool, members, pending = self._made, self._members or [], list(self._pending.values())
            for each in pending:
                each.cancelled = True
        if pool is not None:
            pool.close()
            pool.look_again()
        closing = [threading.Thread(target=each.close, daemon=True) for each in members]
        for thread in closing:
            thread.start()
        end = time.monotonic() + _CLOSES_WITHIN_S
        for thread in closing:  # one may wait for a host that does not answer
            thread.join(max(0.0, end - time.monotonic()))
        self.cluster.close()
        for thread in closing:
            thread.join()
        if self._shared is not None:
            self._shared.close()

    def move_in(self, moving: Callable[[], AbstractContextManager[object]]) -> None:
        """Send and receive files only in such a context."""
        with self._lock:
            self._moving = moving
            for member in self._members or ():
                member.move_in(moving)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def _wheel(self) -> bytes:
        """This paretune; the same one for each host."""
        with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
            return build_wheel(Path(folder)).read_bytes()

    @property
    def _pool(self) -> BuildPool:
        """What builds; all hosts are connected when it is made."""
        with self._lock:
            if self._made is None:
                members = self.members
                with ThreadPoolExecutor(len(members)) as threads:
                    builders = list(threads.map(lambda each: Builder(each, self._slots), members))
                self._made = BuildPool(builders, Machines())
            return self._made

    def _build(
        self,
        pool: BuildPool,
        job: Job,
        pending: _Pending,
        future: Future[JobResult],
        tried: threading.Event,
    ) -> None:
        def begun(target: Target, running: Future[JobResult]) -> None:
            with self._lock:
                pending.target, pending.future = target, running
                cancelled = pending.cancelled
            tried.set()
            if cancelled:
                _cancel(pending)

        try:
            result = pool.run(job, self.name, lambda: pending.cancelled, begun)
        except GivenUpError:
            result = JobResult(JobStatus.CANCELLED, None, "cancelled")
        except BaseException as error:  # handed to whoever waits for the future
            self._forget(future)
            future.set_exception(error)
            tried.set()
            return
        self._forget(future)
        future.set_result(result)
        tried.set()

    def _open_shared(self) -> None:
        """Begin to use the shared folder, before anything of Ray is started.

        Raises:
            UsageError: This machine cannot use it.
        """
        try:
            if self._shared is not None:
                self._shared.open()
        except UsageError as error:
            message = f"the target {self.name!r} cannot be used: {error.message}"
            raise UsageError(message, hint=error.hint) from error

    def _forget(self, future: Future[JobResult]) -> None:
        with self._lock:
            self._pending.pop(future, None)


def _cancel(pending: _Pending) -> None:
    if isinstance(pending.target, RayWorker) and pending.future is not None:
        pending.target.cancel(pending.future)
