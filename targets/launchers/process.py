"""One isolated job: its child is started, watched and ended, and its end is reported as text."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from paretune.core import interrupts
from paretune.core.errors import StateError
from paretune.core.exits import explain_exit, is_from_outside, oom_kills
from paretune.core.job import Build, Job, JobResult, JobStatus, Smoke
from paretune.core.jsontools import Json
from paretune.core.progress import Progress
from paretune.targets.launchers.fork_server import worker_command
from paretune.targets.process_tree import Child, ProcessTree

UNTIMED_TASKS = (Build, Smoke)
"""The tasks in which nothing is timed."""

_FIRST_LOOK_S = 0.2
_LOOK_EVERY_S = 1.0
_GRACE_S = 2.0
_START_WITHIN_S = 180.0
_LOG_KEEPS = 1 << 20
_LOG_TRIMMED_FROM = 8 * _LOG_KEEPS
_MB = 1e6


class Launcher(Protocol):
    """Starts a worker on three given descriptors (`ForkServer`, `Spawner`)."""

    def start(
        self, request: int, reply: int, log: int, *, fresh: bool = False, timed: bool = True
    ) -> Child:
        """Start one."""

    def last_words(self) -> str:
        """Return why it could not, as far as it is known."""


class SpawnedChild:
    """A worker in an interpreter of its own, started by this process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.returncode

    def started(self, timeout: float) -> bool:
        """Return True: it has."""
        return True

    def wait(self, timeout: float) -> bool:
        """Wait until it has ended; False if it has not by then."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """Do nothing: it holds nothing."""


class Spawner:
    """Starts every worker in a new interpreter: slower than a fork server, and works everywhere.

    A descendant that a job orphans between two checks of its tree is not found again here.

    Args:
        environment: The workers' environment.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)

    def start(
        self, request: int, reply: int, log: int, *, fresh: bool = False, timed: bool = True
    ) -> SpawnedChild:
        """Start a worker; it is a fresh one always."""
        interrupts.at_stake()
        return SpawnedChild(
            subprocess.Popen(
                worker_command(),
                stdin=request,
                stdout=reply,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        )

    def last_words(self) -> str:
        """Return nothing: a process that cannot be started raises at once."""
        return ""

    def close(self) -> None:
        """Do nothing: it holds nothing."""


class _End:
    """Why this side ended a job."""

    def __init__(self, status: JobStatus, reason: str) -> None:
        self.status = status
        self.reason = reason


_CANCEL, _END_OF_REPLY = object(), object()


class JobRun:
    """A job on its way through one child.

    Args:
        job: What to run; its memory limit is resolved already.
        launcher: What starts the child.
        scratch: Makes the folder for the job's temporary files; it is gone when `run` returns,
            whatever became of the job.
        fresh: True: in an interpreter without preloaded modules.
        memory_is_short: True if others held so much memory when the job was submitted that it
            might have had enough another time.
    """

    def __init__(
        self,
        job: Job,
        launcher: Launcher,
        scratch: Callable[[], AbstractContextManager[Path]],
        *,
        fresh: bool = False,
        memory_is_short: bool = False,
    ) -> None:
        self._job = job
        self._launcher = launcher
        self._scratch = scratch
        self._fresh = fresh
        self._memory_is_short = memory_is_short
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._peak = 0
        self._grace = _GRACE_S

    def cancel(self) -> None:
        """End it soon; `run` then returns ``cancelled``."""
        self._cancelled.set()
        self._events.put(_CANCEL)

    def run(self) -> JobResult:
        """Run the job to its end, whatever that is.

        Raises:
            StateError: No child could be started.
            OSError: The log cannot be written.
        """
        with ExitStack() as stack:
            scratch = stack.enter_context(self._scratch())
            request = stack.enter_context(tempfile.TemporaryFile())
            text = json.dumps(
                {
                    "task": self._job.task.to_json(),
                    "path": sys.path,
                    "scratch": str(scratch),
                    "turns": self._job.turns,
                }
            )
            request.write(text.encode())
            request.seek(0)
            log = _Log(self._job.log)
            stack.callback(log.close)
            reply, theirs = os.pipe()
            reader = threading.Thread(target=self._read, args=(reply,), daemon=True)
            reader.start()
            try:
                child = self._launcher.start(
                    request.fileno(),
                    theirs,
                    log.descriptor,
                    fresh=self._fresh,
                    timed=not isinstance(self._job.task, UNTIMED_TASKS),
                )
            finally:
                os.close(theirs)
            stack.callback(child.close)
            if not self._wait_for_start(child):
                return JobResult(JobStatus.CANCELLED, reason="cancelled before it started")
            return replace(self._attend(child, reader, log), limits=self._job.limits)

    def _wait_for_start(self, child: Child) -> bool:
        """Wait for the server's imports, which are not the job's time; False if cancelled."""
        deadline = time.monotonic() + _START_WITHIN_S
        while not child.started(0.1):
            if self._cancelled.is_set():
                return False
            if time.monotonic() > deadline:
                raise StateError(
                    f"no worker started within {_START_WITHIN_S:.0f} s",
                    hint=_last_line(self._launcher.last_words()) or "Is the machine overloaded?",
                )
        if child.pid is None and child.returncode is None:
            raise StateError(
                "the process that starts the workers ended before it started one",
                hint=_last_line(self._launcher.last_words()) or "Run `paretune doctor`.",
            )
        return True

    def _attend(self, child: Child, reader: threading.Thread, log: _Log) -> JobResult:
        tree = ProcessTree(child)
        began, kills = time.monotonic(), oom_kills()
        try:
            end, final = self._watch(child, tree, log, began)
            if end is not None:
                tree.ask_to_end()
                if not child.wait(_GRACE_S) and end.status is not JobStatus.OUT_OF_MEMORY:
                    self._answer_in_queue()  # that it saves its state may be read after the request
                    child.wait(max(0.0, self._grace - _GRACE_S))
            elif not child.wait(_GRACE_S):  # it has answered, and hangs on its way out
                tree.kill()
        except BaseException:  # a progress display that raised; nothing may stay behind
            tree.kill()
            raise
        finally:
            tree.kill()
            reader.join(_GRACE_S)
        log.trim()
        seconds = time.monotonic() - began
        if end is None and final is None:
            final = self._answer_in_queue()
        if end is not None:
            transient = end.status is JobStatus.OUT_OF_MEMORY and self._memory_is_short
            return JobResult(end.status, None, end.reason, seconds, self._peak, transient)
        if final is not None:
            status, reason = JobStatus(final["status"]), final["reason"]
            transient = final["transient"] or (
                status is JobStatus.OUT_OF_MEMORY and self._memory_is_short
            )
            value = final["value"]
            if status is JobStatus.OK:
                value = self._job.task.value_from_json(value)
            return JobResult(status, value, reason, seconds, self._peak, transient)
        killed = (oom_kills() or 0) > (kills or 0)
        status, reason = explain_exit(child.returncode, self._peak, oom_killer_ran=killed)
        transient = (
            self._memory_is_short
            if status is JobStatus.OUT_OF_MEMORY
            else is_from_outside(child.returncode)
        )
        return JobResult(status, None, reason, seconds, self._peak, transient)

    def _read(self, descriptor: int) -> None:
        """Queue what the worker says; the one place that closes the pipe."""
        with os.fdopen(descriptor, "rb") as reply:
            for line in reply:
                self._events.put(line)
        self._events.put(_END_OF_REPLY)

    def _watch(
        self, child: Child, tree: ProcessTree, log: _Log, began: float
    ) -> tuple[_End | None, Json]:
        """Wait for an answer, the child's end, a limit or a cancellation; blocks in between."""
        limits = self._job.limits
        deadline = float("inf") if limits.seconds is None else began + limits.seconds
        look = began + _FIRST_LOOK_S
        while True:
            try:
                wait = max(0.0, min(look, deadline) - time.monotonic())
                event = self._events.get(timeout=wait)
            except queue.Empty:
                event = None
            if event is _CANCEL:
                return _End(JobStatus.CANCELLED, "cancelled"), None
            if event is _END_OF_REPLY:
                return None, None
            if event is not None:
                final = self._message(event)
                if final is not None:
                    return None, final
            now = time.monotonic()
            if now >= deadline:
                reason = f"still running after its time limit of {limits.seconds:g} s"
                return _End(JobStatus.TIMEOUT, reason), None
            if now >= look:
                look = now + _LOOK_EVERY_S
                over = self._look(tree, log, limits.memory)
                if over is not None:
                    return over, None
                if child.wait(0):  # while a descendant holds the reply open
                    return None, None

    def _look(self, tree: ProcessTree, log: _Log, limit: int | None) -> _End | None:
        log.trim()
        held = tree.memory()
        self._peak = max(self._peak, held)
        if limit is None or held <= limit:
            return None
        return _End(
            JobStatus.OUT_OF_MEMORY,
            f"held {held / _MB:.0f} MB of memory, more than its limit of {limit / _MB:.0f} MB",
        )

    def _message(self, line: bytes) -> Json:
        """Pass progress on; return the final answer if this is it."""
        try:
            message = json.loads(line)
        except ValueError:  # cut off as the worker died
            return None
        if "progress" in message:
            if self._job.on_progress is not None:
                self._job.on_progress(Progress(**message["progress"]))
            return None
        if "grace" in message:  # it saves its state before it ends
            self._grace = _GRACE_S if message["grace"] is None else message["grace"]
            return None
        self._peak = max(self._peak, message["memory"])
        return message

    def _answer_in_queue(self) -> Json:
        """Return an answer that arrived while the child's end was noticed."""
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return None
            if isinstance(event, bytes):
                final = self._message(event)
                if final is not None:
                    return final


def _last_line(text: str) -> str:
    """Return what a traceback ends with: the error itself."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


class _Log:
    """A file that a job's output is appended to; kept small however much that is."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self.descriptor = os.open(path or os.devnull, flags, 0o644)
        self._start = 0 if path is None else os.fstat(self.descriptor).st_size

    def trim(self) -> None:
        """Keep the first and the last megabyte of this job's output if there is much more.

        The job goes on appending meanwhile; the lines that it writes just then may be lost.
        """
        if self._path is None:
            return
        size = os.fstat(self.descriptor).st_size
        if size - self._start < _LOG_TRIMMED_FROM:
            return
        with open(self._path, "r+b") as file:
            file.seek(size - _LOG_KEEPS)
            tail = file.read(_LOG_KEEPS)
            file.truncate(self._start + _LOG_KEEPS)
        left_out = size - self._start - 2 * _LOG_KEEPS
        os.write(self.descriptor, b"\n[... %d bytes left out ...]\n" % left_out + tail)

    def close(self) -> None:
        os.close(self.descriptor)
