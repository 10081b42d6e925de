"""One conversation with an agent: who asked for what, and what came back."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from paretune.core import protocol
from paretune.core.errors import StateError, UsageError
from paretune.core.job import Job, JobResult, JobStatus
from paretune.core.protocol import Message
from paretune.targets.interleave import ClosedError, Word

_DESCRIBED_WITHIN_S = 120.0


class Channel(Protocol):
    """Two streams of bytes to an agent, and what it wrote to its standard error."""

    reader: BinaryIO
    writer: BinaryIO

    def last_words(self) -> str:
        """Return the end of the agent's standard error."""

    def close(self) -> None:
        """Close the streams and wait until the agent has ended; may be called again."""


class Transport(Protocol):
    """Brings models and files to a far side that shares no folder with this one."""

    def bring(self, job: Job, digests: Sequence[str]) -> None:
        """Bring what a job names by these digests; returns when all of it is there.

        Raises:
            ParetuneError: It cannot be brought.
        """


@dataclass
class Pending:
    """A job that runs on the far side."""

    job: Job
    future: Future[JobResult] = field(default_factory=Future)
    words: queue.SimpleQueue[Word] = field(default_factory=queue.SimpleQueue)


class BrokenError(Exception):
    """The channel is closed, or carries something else."""


_ANSWER = b'{"type": "described"'


class Conversation:
    """One agent's conversation, from its start to the end of its channel."""

    def __init__(self, name: str, channel: Channel, transport: Transport | None) -> None:
        self._name, self._channel, self._transport = name, channel, transport
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._ids = itertools.count(1)
        self._pending: dict[int, Pending] = {}
        self._described: queue.SimpleQueue[protocol.Described | None] = queue.SimpleQueue()
        self._closing = False
        self._unreadable: str | None = None
        self.broken = False
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def describe(self, hello: protocol.Hello) -> protocol.Described:
        """Ask what the far side is.

        Raises:
            BrokenError: It ended without an answer.
        """
        self.say(hello)
        try:
            described = self._described.get(timeout=_DESCRIBED_WITHIN_S)
        except queue.Empty:
            described = None
        if described is None:
            raise BrokenError(self.reason())
        return described

    def run(self, job: Job, *, turns: bool) -> tuple[int, Pending]:
        """Send a job; its result comes to the future."""
        pending = Pending(job)
        pending.future.set_running_or_notify_cancel()
        number = next(self._ids)
        message = protocol.Run(number, job.task.to_json(), job.limits, turns)
        with self._lock:
            self._pending[number] = pending
        try:
            self.say(message)
        except BrokenError:
            self.broken = True
        if self.broken:  # perhaps since the reader has ended all others
            self._lose()
        return number, pending

    def say(self, message: Message) -> None:
        """Send a message.

        Raises:
            BrokenError: The channel is closed.
        """
        try:
            with self._sending:
                self._channel.writer.write(message.line())
                self._channel.writer.flush()
        except (OSError, ValueError) as error:  # ValueError: closed by `close`
            raise BrokenError(self.reason()) from error

    def number_of(self, future: Future[JobResult]) -> int | None:
        """Return the number of a running job."""
        with self._lock:
            return next((n for n, p in self._pending.items() if p.future is future), None)

    def close(self) -> None:
        """End the agent; jobs that still run are cancelled."""
        self._closing = True
        self._channel.close()
        self._reader.join()
        self._channel.reader.close()

    def reason(self) -> str:
        """Return why the conversation ended."""
        if self._unreadable is not None:
            return f"the agent of {self._name} answers what cannot be read: {self._unreadable}"
        lines = self._channel.last_words().strip().splitlines()
        return f"the connection to {self._name} was lost" + (f": {lines[-1]}" if lines else "")

    def _listen(self) -> None:
        heard = False
        try:
            for line in self._channel.reader:
                try:
                    message = protocol.read(line)
                except UsageError as error:
                    if heard or line.startswith(_ANSWER):
                        self._unreadable = error.message
                        raise
                    continue  # what a login prints before the agent has started
                heard = True
                self._hear(message)
        except (OSError, ValueError, UsageError):
            pass
        self._lose()

    def _hear(self, message: Message) -> None:
        if isinstance(message, protocol.Described):
            self._described.put(message)
            return
        assert isinstance(
            message,
            protocol.Progressed | protocol.Ready | protocol.Done | protocol.Need | protocol.Result,
        )
        with self._lock:
            pending = self._pending.get(message.id)
        if pending is None:
            return
        if isinstance(message, protocol.Progressed):
            if pending.job.on_progress is not None:
                try:
                    pending.job.on_progress(message.progress)
                except BaseException as error:  # handed to whoever waits for the future
                    self._forget(message.id)
                    self.say(protocol.Cancel(message.id))
                    pending.future.set_exception(error)
        elif isinstance(message, protocol.Need):
            threading.Thread(target=self._bring, args=(pending.job, message), daemon=True).start()
        elif isinstance(message, protocol.Result):
            self._forget(message.id)
            try:
                pending.future.set_result(_result(pending.job, message))
            except OSError as error:  # the log cannot be written
                pending.future.set_exception(error)
        else:
            pending.words.put(Word.READY if isinstance(message, protocol.Ready) else Word.DONE)

    def _bring(self, job: Job, needed: protocol.Need) -> None:
        reason = None
        try:
            if self._transport is None:
                raise StateError("no transport brings files to it")
            self._transport.bring(job, needed.digests)
        except Exception as error:  # the agent reports it as the job's end
            reason = str(error)
        with contextlib.suppress(BrokenError):
            self.say(protocol.Have(needed.id, needed.digests, reason))

    def _forget(self, number: int) -> None:
        with self._lock:
            self._pending.pop(number, None)

    def _lose(self) -> None:
        """End all jobs: the channel is gone."""
        with self._lock:
            self.broken = True
            lost, self._pending = self._pending, {}
        self._described.put(None)
        for pending in lost.values():
            status = JobStatus.CANCELLED if self._closing else JobStatus.CRASHED
            reason = "cancelled" if self._closing else self.reason()
            pending.future.set_result(JobResult(status, None, reason, transient=not self._closing))


def _result(job: Job, said: protocol.Result) -> JobResult:
    if job.log is not None and said.log:
        with open(job.log, "a", encoding="utf-8") as log:
            log.write(said.log)
    value = job.task.value_from_json(said.value) if said.status is JobStatus.OK else None
    return JobResult(
        status=said.status,
        value=value,
        reason=said.reason,
        seconds=said.seconds,
        peak_memory=said.peak_memory,
        transient=said.transient,
        limits=said.limits,
        interference=said.interference,
    )


class Seat:
    """An interleaved job on the far side."""

    def __init__(self, talk: Conversation, number: int, pending: Pending) -> None:
        self._talk, self._number, self._pending = talk, number, pending
        self.future = pending.future

    def hear(self, seconds: float) -> Word | None:
        """Return the job's next word; None if there is none within so many seconds."""
        try:
            return self._pending.words.get(timeout=seconds)
        except queue.Empty:
            return None

    def go(self) -> None:
        """Give it a turn, or let it end.

        Raises:
            ClosedError: The job or the channel is gone.
        """
        if self.future.done():
            raise ClosedError("the job is gone")
        try:
            self._talk.say(protocol.Go(self._number))
        except BrokenError as error:
            raise ClosedError("the channel is gone") from error

    def close(self) -> None:
        """End the job if it still runs."""
        if not self.future.done():
            with contextlib.suppress(BrokenError):
                self._talk.say(protocol.Cancel(self._number))
