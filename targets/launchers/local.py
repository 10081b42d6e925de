"""The target ``local``: this machine, with every job in a process of its own."""

from __future__ import annotations

import os
import random
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from paretune.core.device import TargetInfo
from paretune.core.errors import StateError, UsageError
from paretune.core.job import JOB_MEMORY_SHARE, Job, JobResult, JobStatus, Measure
from paretune.core.machine_lock import GivenUpError
from paretune.core.resources import free_memory, total_memory
from paretune.core.threads import Worker
from paretune.registry import find_evaluator
from paretune.store.staging import Staging
from paretune.targets.device.fingerprint import device, gpu_names
from paretune.targets.interleave import SocketParticipant, interleave
from paretune.targets.launchers.fork_server import ForkServer
from paretune.targets.launchers.held_machine import HeldMachine
from paretune.targets.launchers.preloading import modules_of
from paretune.targets.launchers.process import JobRun, Spawner
from paretune.targets.launchers.scratch import ScratchFolders

_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
_SHORT_BELOW = 0.8
"""Memory is short where less than this share of all of it is free: others hold the rest."""


def worker_environment(
    *, allow_network: bool, inherited: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the environment of workers: no thread pool at import, no telemetry, no network.

    Args:
        allow_network: Leave out what keeps the Hugging Face libraries offline.
        inherited: The environment to start from.
    """
    environment = {
        **inherited,
        "OPENBLAS_NUM_THREADS": "1",  # else numpy's import starts its pool before the fork
        "ORT_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "JE_ARROW_MALLOC_CONF": "background_thread:false",  # a fork keeps no thread but its own
        "PYTHONUNBUFFERED": "1",  # a crash does not take the last lines of the log with it
    }
    gpu = _one_gpu(inherited.get("CUDA_VISIBLE_DEVICES"), len(gpu_names()))
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    if not os.path.isabs(os.path.expanduser("~")):
        # Neither HOME nor an entry in /etc/passwd: libraries would write to "~" in the working
        # folder, or not start at all.
        environment.update(HOME=tempfile.gettempdir(), USER=inherited.get("USER", "paretune"))
    if not allow_network:
        environment.update(dict.fromkeys(_OFFLINE, "1"))
    return environment


def _one_gpu(visible: str | None, there: int) -> str | None:
    """Return which GPU jobs may see, if there are several; None: leave it as it is.

    transformers' Trainer spreads a model over all that it sees (DataParallel), which cuts the
    inputs of the passes' losses in pieces; and a speed is one device's.

    Args:
        visible: ``CUDA_VISIBLE_DEVICES`` as inherited; None: not set.
        there: How many the driver knows.
    """
    if visible is not None:
        first, comma, _ = visible.partition(",")
        return first.strip() if comma else None
    return "0" if there > 1 else None


class _Ticket:
    """A job that waits for the machine, or runs."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self._run: JobRun | None = None

    def begin(self, run: JobRun) -> None:
        """Let the job's run be cancelled from now on."""
        self._run = run
        if self.cancelled.is_set():
            run.cancel()

    def cancel(self) -> None:
        """End the job soon."""
        self.cancelled.set()
        if self._run is not None:
            self._run.cancel()


class LocalTarget:
    """Runs jobs on this machine.

    A job that a limit ends is sent SIGTERM and, two seconds later, SIGKILL, with all its
    descendants. Without a memory limit of its own it gets 90 % of the memory that is free when it
    starts. A job that measures has this machine alone among the jobs of all processes of this user
    (`paretune.core.machine_lock`), interleaved ones together; builds run beside each other. A job
    that waits for the machine says so by its progress.

    Args:
        store_root: Where artifacts are kept; `info` tells the disk that is free there, and jobs
            have their temporary files there. Without one those are where the system has them.
        allow_network: Whether jobs may reach out.
        start: ``fork``: from a fork server (Linux only); ``spawn``: a new interpreter a job.
    """

    name = "local"

    def __init__(
        self,
        store_root: Path | None = None,
        allow_network: bool = False,
        start: Literal["fork", "spawn"] | None = None,
    ) -> None:
        self._store_root = store_root
        staging = (
            None if store_root is None else Staging(store_root / "staging", store_root / "locks")
        )
        # In the store: if this process is killed too, whoever uses the store next finds them.
        make = _temporary_folder if staging is None else staging.folder
        self._scratch = ScratchFolders(make)
        environment = worker_environment(allow_network=allow_network)
        how = start or ("fork" if sys.platform == "linux" else "spawn")
        self._launcher: ForkServer | Spawner = (
            ForkServer(self._modules, environment) if how == "fork" else Spawner(environment)
        )
        self._packages: frozenset[str] = frozenset()
        # Not without a fork server: what a job orphans may live on then, and write to its folder.
        reuses = how == "fork" and staging is not None
        self._scratch_of_job = self._scratch.folder if reuses else make
        self._machine = HeldMachine()
        self._lock = threading.Lock()
        self._running: dict[Future[JobResult], tuple[_Ticket, Worker]] = {}
        self._closed = False

    def info(self) -> TargetInfo:
        """Return what this machine is, and what is free now."""
        return device(self.name, self._store_root)

    def preload(self, packages: Iterable[str]) -> None:
        """Have the fork server import what these packages bring, as the first job starts it.

        Without it each job imports what it needs. It takes no effect on a server that runs.

        Args:
            packages: Distributions that the jobs use; one that is not installed is passed over.
        """
        self._packages |= {*packages}

    def _modules(self) -> tuple[str, ...]:
        return modules_of(self._packages)

    def submit(self, job: Job) -> Future[JobResult]:
        """Run a job in a process of its own.

        Its time begins when its process has started, so the server's imports are not part of it.

        Raises:
            StateError: The target is closed.
        """
        ticket = _Ticket()
        future: Future[JobResult] = Future()
        future.set_running_or_notify_cancel()
        thread = Worker(target=self._run, args=(job, ticket, future), daemon=True)
        with self._lock:
            if self._closed:
                raise StateError("the target is closed", hint="Make a new LocalTarget.")
            self._running[future] = ticket, thread
            try:
                thread.start()
            except RuntimeError:  # the system has no thread left: whoever closes would wait for it
                del self._running[future]
                raise
        return future

    def interleave(
        self, jobs: Sequence[Job], order: random.Random, seconds: float | None = None
    ) -> list[JobResult]:
        """Run `Measure` jobs side by side, one of them working at a time.

        Raises:
            StateError: The target is closed.
            TimeoutError: More than `seconds` were needed; see `cancel`.
        """
        return interleave(self.begin, jobs, order, seconds)

    def begin(self, job: Job, stack: ExitStack) -> SocketParticipant:
        """Start an interleaved job; it is disconnected when the stack is closed."""
        seat = SocketParticipant(lambda address: self.submit(replace(job, turns=address)))
        stack.callback(seat.close)
        return seat

    def cancel(self, future: Future[JobResult] | None = None) -> None:
        """End a job, or every one; each is gone within about two seconds."""
        with self._lock:
            chosen = [ticket for job, (ticket, _) in self._running.items() if future in (None, job)]
        for ticket in chosen:
            ticket.cancel()

    def close(self) -> None:
        """End every job and the fork server; nothing stays behind. May be called again."""
        with self._lock:
            self._closed = True
            threads = [thread for _, thread in self._running.values()]
        self.cancel()
        for thread in threads:
            thread.join()
        self._launcher.close()
        self._scratch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, job: Job, ticket: _Ticket, future: Future[JobResult]) -> None:
        try:
            with self._machine.held_for(job, ticket.cancelled.is_set) as held:
                result = held.noted(self._run_of(job, ticket).run())
        except GivenUpError:
            self._forget(future)
            future.set_result(JobResult(JobStatus.CANCELLED, reason="cancelled before it started"))
        except BaseException as error:  # handed to whoever waits for the future
            self._forget(future)
            future.set_exception(error)
        else:
            self._forget(future)
            future.set_result(result)

    def _run_of(self, job: Job, ticket: _Ticket) -> JobRun:
        """Return a job's run, with the limits that hold now."""
        limits, short = job.limits, False
        if limits.memory is None:
            free = free_memory()
            limits = replace(limits, memory=int(JOB_MEMORY_SHARE * free))
            short = free < _SHORT_BELOW * total_memory()
        run = JobRun(
            replace(job, limits=limits),
            self._launcher,
            self._scratch_of_job,
            fresh=_fresh(job),
            memory_is_short=short,
        )
        ticket.begin(run)
        return run

    def _forget(self, future: Future[JobResult]) -> None:
        with self._lock:
            del self._running[future]


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="paretune-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _fresh(job: Job) -> bool:
    """True if the job is an evaluator's that needs a process without preloaded modules."""
    if not isinstance(job.task, Measure):
        return False
    try:
        evaluator = find_evaluator(job.task.evaluator)
    except UsageError:  # there is none of that name: the worker says so, as the job's failure
        return False
    return bool(getattr(evaluator, "fresh_process", False))
