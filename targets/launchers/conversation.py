"""One conversation with an agent: who asked for what, and what came back.

Whatever the far side sends or does not send, each job's future ends: with its result, or as lost
once the channel breaks, carries what no agent sends (`paretune.targets.launchers.answers`), or a
job is overdue.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field

from paretune.core import protocol
from paretune.core.errors import ConnectionLostError, StateError
from paretune.core.job import Job, JobResult, JobStatus
from paretune.core.protocol import Message
from paretune.targets.interleave import ClosedError, Word
from paretune.targets.launchers import answers
from paretune.targets.launchers.answers import Answer, AnswerError, ResultError
from paretune.targets.launchers.channel import Channel, Transport
from paretune.targets.transports.greeting import MOST_GREETING_BYTES

GRACE_S = 600.0
"""How long after a job's time limit its result may come: starting a worker may take 180 s, the end
of a training that saves its state 20 s, and the device may be slow at reading files."""
_DESCRIBED_WITHIN_S = 120.0
_SENT_WITHIN_S = 120.0
"""How long a message waits for those before it: longer, and the far side does not read."""
_CANCELLED_WITHIN_S = 10.0
_CLOSED_WITHIN_S = 10.0
_MOST_WORDS = 4
"""Of an interleaved job that wait to be heard; an agent waits for a turn after each."""
_MOST_NEEDS = 16
"""Of one job, one after another; an agent asks once."""


@dataclass
class Pending:
    """A job that runs on the far side.

    Attributes:
        job: It.
        future: Its result.
        words: What it says if it is interleaved.
        cancelled: Whether this side cancelled it.
        needs: How often it has asked for files.
        bringing: Whether files of it are on their way: its time does not count then.
        timer: Ends the conversation if its result is overdue.
    """

    job: Job
    future: Future[JobResult] = field(default_factory=Future)
    words: queue.SimpleQueue[Word] = field(default_factory=queue.SimpleQueue)
    cancelled: bool = False
    needs: int = 0
    bringing: bool = False
    timer: threading.Timer | None = None


class BrokenError(Exception):
    """The channel is closed, or carries something else."""


class Conversation:
    """One agent's conversation, from its start to the end of its channel."""

    def __init__(self, name: str, channel: Channel, transport: Transport | None) -> None:
        self._name, self._channel, self._transport = name, channel, transport
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._ids = itertools.count(1)
        self._pending: dict[int, Pending] = {}
        self._asked = 0
        self._described: queue.SimpleQueue[protocol.Described | None] = queue.SimpleQueue()
        self._closing = False
        self._why: str | None = None
        self.broken = False
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def describe(self, hello: protocol.Hello) -> protocol.Described:
        """Ask what the far side is.

        Raises:
            BrokenError: It ended without an answer, or gives none.
        """
        with self._lock:
            self._asked += 1
        self.say(hello)
        try:
            described = self._described.get(timeout=_DESCRIBED_WITHIN_S)
        except queue.Empty:
            self.give_up(f"{self._name} did not answer within {_DESCRIBED_WITHIN_S:.0f} s")
            raise BrokenError(self.reason()) from None
        if described is None:
            self._described.put(None)  # for the next one who waits
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
            self._expect(number, pending)
        with contextlib.suppress(BrokenError):
            self.say(message)
        if self.broken:  # perhaps since the reader has ended all others
            self._lose()
        return number, pending

    def say(self, message: Message, within_s: float = _SENT_WITHIN_S) -> None:
        """Send a message.

        Raises:
            BrokenError: The channel is closed, or the far side does not read it.
        """
        line = message.line()
        if not self._sending.acquire(timeout=within_s):
            self.give_up(f"{self._name} does not read what is sent to it")
            raise BrokenError(self.reason())
        try:
            self._channel.writer.write(line)
            self._channel.writer.flush()
            return
        except (OSError, ValueError) as error:  # ValueError: closed by `close`
            broken = error
        finally:
            self._sending.release()
        if not self._closing:  # the far side may have closed this stream alone
            self.give_up(self.reason())
        raise BrokenError(self.reason()) from broken

    def cancel(self, future: Future[JobResult] | None = None) -> None:
        """Cancel a job, or all of them; their results say so."""
        with self._lock:
            chosen = {n: p for n, p in self._pending.items() if future in (None, p.future)}
            for pending in chosen.values():
                pending.cancelled = True
        with contextlib.suppress(BrokenError):
            if future is None:
                self.say(protocol.Cancel(None), _CANCELLED_WITHIN_S)
            for number in chosen if future is not None else ():
                self.say(protocol.Cancel(number), _CANCELLED_WITHIN_S)

    def give_up(self, why: str) -> None:
        """End the conversation, and every job of it as lost, for a cause that this side sees."""
        self._why = self._why or why
        self._lose()
        self._channel.kill()

    def close(self) -> None:
        """End the agent; jobs that still run are cancelled."""
        self._closing = True
        if self._sending.acquire(timeout=_CANCELLED_WITHIN_S):
            self._sending.release()
        else:  # closing the stream would wait for what nobody reads
            self._channel.kill()
        self._channel.close()
        self._reader.join(_CLOSED_WITHIN_S)
        self._lose()
        if not self._reader.is_alive():  # else another process there keeps the channel open
            self._channel.reader.close()

    def reason(self) -> str:
        """Return why the conversation ended."""
        if self._why is not None:
            return self._why
        lines: list[str] = []
        with contextlib.suppress(Exception):  # no job may wait because a channel cannot say why
            lines = self._channel.last_words().strip().splitlines()
        return f"the connection to {self._name} was lost" + (f": {lines[-1]}" if lines else "")

    def _listen(self) -> None:
        try:
            greeting: int | None = 0
            for line in answers.lines(self._channel.reader):
                message: bytes | None = line
                if greeting is not None:
                    message = answers.after_greeting(line)
                    greeting += len(line)
                    if message is None and greeting > MOST_GREETING_BYTES:
                        raise AnswerError(f"{line[:200]!r}, and more of it, is not a message")
                if message is not None:
                    greeting = None
                    self._hear(message)
        except AnswerError as error:
            self.give_up(f"the agent of {self._name} answers what cannot be read: {error}")
        except (OSError, ValueError):  # it broke, or `close` closed it
            pass
        except Exception as error:  # a bug of ours; no job may wait for it
            self.give_up(f"answers of {self._name}: {type(error).__name__}: {error}")
        finally:
            self._lose()

    def _hear(self, line: bytes) -> None:
        """Do what a line of the agent asks for.

        Raises:
            AnswerError: No agent would send it now.
        """
        try:
            message = answers.read(line)
        except ResultError as error:
            pending = self._forget(error.id)
            if pending is not None:
                pending.future.set_result(answers.unreadable(self._name, str(error)))
            return
        if isinstance(message, protocol.Described):
            with self._lock:
                self._asked -= 1
            if self._asked < 0:
                raise AnswerError("'described' without a question")
            self._described.put(message)
            return
        with self._lock:
            found = self._pending.get(message.id)
        if found is not None:
            self._hear_of(found, message)

    def _hear_of(self, pending: Pending, message: Answer) -> None:
        assert not isinstance(message, protocol.Described)
        if isinstance(message, protocol.Progressed):
            if message.progress.waits:
                with self._lock:
                    if message.id in self._pending and not pending.bringing:
                        _stop(pending)
                        self._expect(message.id, pending)  # its time has not begun
            self._show(pending, message)
        elif isinstance(message, protocol.Need):
            pending.needs += 1
            with self._lock:
                if pending.bringing or pending.needs > _MOST_NEEDS:
                    raise AnswerError("'need' again for a job whose files were asked for")
                pending.bringing = True
                _stop(pending)
            threading.Thread(target=self._bring, args=(pending, message), daemon=True).start()
        elif isinstance(message, protocol.Result):
            if self._forget(message.id) is None:
                return
            try:
                cancelled = pending.cancelled
                result = answers.result_of(pending.job, message, self._name, cancelled=cancelled)
            except OSError as error:  # the log cannot be written
                pending.future.set_exception(error)
            else:
                pending.future.set_result(result)
        elif pending.words.qsize() >= _MOST_WORDS:
            raise AnswerError(f"{message.type!r} without a turn")
        else:
            pending.words.put(Word.READY if isinstance(message, protocol.Ready) else Word.DONE)

    def _show(self, pending: Pending, message: protocol.Progressed) -> None:
        if pending.job.on_progress is None:
            return
        try:
            pending.job.on_progress(message.progress)
        except BaseException as error:  # handed to whoever waits for the future
            if self._forget(message.id) is not None:
                with contextlib.suppress(BrokenError):
                    self.say(protocol.Cancel(message.id))
                pending.future.set_exception(error)

    def _bring(self, pending: Pending, needed: protocol.Need) -> None:
        reason, digests = None, tuple(dict.fromkeys(needed.digests))
        try:
            if self._transport is None:
                raise StateError("no transport brings files to it")
            self._transport.bring(pending.job, digests)
        except Exception as error:  # the agent reports it as the job's end
            reason = str(error)
        with self._lock:
            pending.bringing = False
            if needed.id in self._pending:
                self._expect(needed.id, pending)
        with contextlib.suppress(BrokenError):
            self.say(protocol.Have(needed.id, digests, reason))

    def _expect(self, number: int, pending: Pending) -> None:
        """Begin to wait for a result; under the lock."""
        seconds = pending.job.limits.seconds
        if seconds is None:
            return
        wait = min(seconds + GRACE_S, threading.TIMEOUT_MAX)
        pending.timer = threading.Timer(wait, self._overdue, (number, pending, seconds))
        pending.timer.daemon = True
        pending.timer.start()

    def _overdue(self, number: int, pending: Pending, seconds: float) -> None:
        with self._lock:
            if number not in self._pending or pending.bringing:
                return
        self.give_up(
            f"the connection to {self._name} was given up: {pending.job.task.name} sent no result "
            f"within its time limit of {seconds:g} s and {GRACE_S:g} s more"
        )

    def _forget(self, number: int) -> Pending | None:
        """Return a job that runs, which the caller must end; None: it has ended."""
        with self._lock:
            pending = self._pending.pop(number, None)
            if pending is not None:
                _stop(pending)
            return pending

    def _lose(self) -> None:
        """End all jobs: the channel is gone."""
        with self._lock:
            self.broken = True
            lost, self._pending = self._pending, {}
            for pending in lost.values():
                _stop(pending)
        self._described.put(None)
        reason = "cancelled" if self._closing or not lost else self.reason()
        for pending in lost.values():
            if self._closing or pending.cancelled:
                result = JobResult(JobStatus.CANCELLED, None, "cancelled")
            else:
                gone = ConnectionLostError(reason)
                result = JobResult(JobStatus.CRASHED, None, reason, transient=True, lost=gone)
            pending.future.set_result(result)


def _stop(pending: Pending) -> None:
    if pending.timer is not None:
        pending.timer.cancel()
        pending.timer = None


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
            self._talk.cancel(self.future)
