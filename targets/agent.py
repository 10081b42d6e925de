"""The agent: ``python -P -m paretune.targets.agent`` on the far side of a channel.

It says what this machine and this interpreter are, and runs jobs as a `LocalTarget` does: each in a
process of its own, with its own limits. Standard input and output are the channel
(`paretune.core.protocol`); whatever else prints, prints to standard error. When the channel closes,
or carries what no parent sends, the agent ends its jobs and itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from paretune.core import protocol
from paretune.core.errors import ParetuneError, TransientError, UsageError
from paretune.core.interference import Watch
from paretune.core.job import (
    BuildResult,
    Job,
    JobResult,
    JobStatus,
    Measure,
    Task,
    task_from_json,
)
from paretune.core.machine_lock import MachineLock
from paretune.core.progress import Progress
from paretune.core.protocol import MOST_LINE_BYTES, Message
from paretune.targets.described import described, result_of, shortened
from paretune.targets.interleave import ClosedError, SocketParticipant, Word
from paretune.targets.launchers.local import LocalTarget
from paretune.targets.transports.arrivals import Arrivals, CancelledError
from paretune.targets.transports.budget import Freed
from paretune.targets.transports.files import FileStore

_HEAR_S = 0.5


@dataclass
class _Running:
    """A job that was started here."""

    future: Future[JobResult]
    stack: ExitStack
    seat: SocketParticipant | None = None


class Agent:
    """Serves one conversation.

    Args:
        channel_in: The parent's messages.
        channel_out: Takes the answers.
    """

    def __init__(self, channel_in: BinaryIO, channel_out: BinaryIO) -> None:
        self._in, self._out = channel_in, channel_out
        self._sending = threading.Lock()
        self._lock = threading.Lock()
        self._target: LocalTarget | None = None
        self._running: dict[int, _Running] = {}
        self._known: set[int] = set()
        self._arrivals: Arrivals | None = None

    def serve(self) -> None:
        """Answer until the channel closes; no process of a job is left then.

        Raises:
            UsageError: The channel carries what no parent sends.
        """
        try:
            for line in self._in:
                self._obey(protocol.read(line))
        finally:
            if self._arrivals is not None:
                self._arrivals.cancel(None)  # jobs that wait for their files
            if self._target is not None:
                self._target.close()

    def _obey(self, message: Message) -> None:
        if isinstance(message, protocol.Hello):
            self._describe(message)
        elif self._target is None:
            raise UsageError(f"{message.type!r} came before 'hello'")
        elif isinstance(message, protocol.Run):
            if message.id in self._known:
                raise UsageError(f"the job {message.id} was sent before")
            self._known.add(message.id)
            if self._arrivals is None:
                self._run(message)
            else:
                self._arrivals.expect(message.id)
                threading.Thread(target=self._run, args=(message,), daemon=True).start()
        elif isinstance(message, protocol.Have):
            if self._arrivals is not None:
                self._arrivals.have(message.id, message.reason)
        elif isinstance(message, protocol.Go):
            running = self._running.get(message.id)
            if running is not None and running.seat is not None:
                with contextlib.suppress(ClosedError):  # its result says so
                    running.seat.go()
        elif isinstance(message, protocol.Cancel):
            if self._arrivals is not None:
                self._arrivals.cancel(message.id)
            self._cancel(message.id)
        else:
            raise UsageError(f"{message.type!r} is a message of an agent")

    def _describe(self, hello: protocol.Hello) -> None:
        if self._target is None:
            MachineLock().check()  # else each job would fail by it
            self._target = LocalTarget(hello.store, allow_network=hello.permissions.network)
            if not hello.shared and hello.store is not None:
                files = FileStore(hello.store)
                self._arrivals = Arrivals(files, self._need, hello.budget, self._freed)
        self._target.preload(hello.packages)
        self._say(described(self._target))

    def _freed(self, id: int, freed: Freed) -> None:
        note = (
            f"removed {freed.items} of the files and artifacts there that were used longest ago "
            f"({freed.bytes / 1e6:.0f} MB)"
        )
        self._progress(id, Progress("files", 0, 0, note))

    def _need(self, id: int, digests: Sequence[str]) -> None:
        self._say(protocol.Need(id, tuple(digests)))

    def _run(self, message: protocol.Run) -> None:
        """Start a job, once its files are there; what prevents that is its result."""
        try:
            with ExitStack() as stack:
                task = task_from_json(message.task)
                if self._arrivals is not None:
                    task = self._arrivals.fetch(message.id, task, stack)
                self._start(message, task, stack)
        except CancelledError as error:
            result = JobResult(JobStatus.CANCELLED, None, str(error))
        except (ParetuneError, OSError) as error:
            again = isinstance(error, TransientError | OSError)
            result = JobResult(JobStatus.FAILED, None, str(error), transient=again)
        except Exception as error:  # a bug of ours; else the parent would wait for it
            result = JobResult(JobStatus.FAILED, None, f"{type(error).__name__}: {error}")
        else:
            return
        finally:
            if self._arrivals is not None and self._arrivals.forget(message.id):
                self._cancel(message.id)
        self._say(result_of(message.id, result, None, ""))

    def _cancel(self, id: int | None) -> None:
        """End a running job; None: all of them."""
        assert self._target is not None, "a job came before hello"
        with self._lock:
            futures = [r.future for n, r in self._running.items() if id in (None, n)]
        for future in futures:
            self._target.cancel(future)

    def _start(self, message: protocol.Run, task: Task, stack: ExitStack) -> None:
        assert self._target is not None, "a job came before hello"
        with tempfile.NamedTemporaryFile(delete=False) as made:
            log = Path(made.name)
        stack.callback(log.unlink, missing_ok=True)
        watch = Watch(None) if isinstance(task, Measure) else None
        job = Job(task, message.limits, log, partial(self._progress, message.id))
        seat = self._target.begin(job, stack) if message.turns else None
        future = self._target.submit(job) if seat is None else seat.future
        running = _Running(future, stack.pop_all(), seat)
        with self._lock:
            self._running[message.id] = running
        if seat is not None:
            threading.Thread(target=self._pass_on, args=(message.id, seat), daemon=True).start()
        future.add_done_callback(partial(self._ended, message.id, job, watch))

    def _progress(self, id: int, progress: Any) -> None:
        self._say(protocol.Progressed(id, progress))

    def _pass_on(self, id: int, seat: SocketParticipant) -> None:
        """Pass the words of an interleaved job on to the parent."""
        with contextlib.suppress(ClosedError):
            while not seat.future.done():
                word = seat.hear(_HEAR_S)
                if word is not None:
                    kind = protocol.Ready if word is Word.READY else protocol.Done
                    self._say(kind(id))

    def _ended(self, id: int, job: Job, watch: Watch | None, future: Future[JobResult]) -> None:
        try:
            result = future.result()
        except ParetuneError as error:  # what surrounds the job, and not the job
            result = JobResult(JobStatus.FAILED, None, str(error), transient=True)
        except Exception as error:  # a bug of ours, told to the parent as the job's end
            result = JobResult(JobStatus.FAILED, None, f"{type(error).__name__}: {error}")
        if watch is not None:
            watch.end()
        result = self._kept(result)
        with self._lock:
            running = self._running.pop(id)
        assert job.log is not None
        try:
            log = shortened(job.log)
            running.stack.close()
            value = result.value
            if result.status is JobStatus.OK:
                value = job.task.value_to_json(value)
            line = result_of(id, result, value, log, watch).line()
            if len(line) > MOST_LINE_BYTES:
                raise ValueError(f"{len(line)} bytes, more than {MOST_LINE_BYTES}")
        except Exception as error:  # else the parent would wait for it
            reason = f"the result cannot be sent: {type(error).__name__}: {error}"
            line = result_of(id, JobResult(JobStatus.FAILED, None, reason), None, "").line()
        self._write(line)

    def _kept(self, result: JobResult) -> JobResult:
        """Keep the files that a build has made for a parent that shares no folder."""
        if self._arrivals is not None and isinstance(result.value, BuildResult):
            try:
                self._arrivals.keep(result.value.made)
            except Exception as error:  # else the parent would wait for it
                reason = f"what was built cannot be sent: {error}"
                return JobResult(JobStatus.FAILED, None, reason, transient=True)
        return result

    def _say(self, message: Message) -> None:
        self._write(message.line())

    def _write(self, line: bytes) -> None:
        with self._sending, contextlib.suppress(BrokenPipeError):  # the next read ends this process
            self._out.write(line)
            self._out.flush()


def main() -> None:
    """Serve the conversation on standard input and output, to its end."""
    channel_in, channel_out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds: jobs end
    try:
        Agent(channel_in, channel_out).serve()
    except UsageError as error:
        sys.exit(f"the agent ends: {error.message}")


if __name__ == "__main__":
    main()
