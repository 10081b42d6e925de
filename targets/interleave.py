"""Jobs that take turns: all are loaded and wait, and one at a time does a bit of its work.

A Unix socket a round, in a folder that only this user may enter. Each job connects once it is
ready, and says so; it goes on when it is told, and speaks again when it wants another turn or has
had its last. Whoever loses the other end gives up: nobody waits for the dead.
"""

from __future__ import annotations

import os
import random
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from paretune.core.job import Job, JobResult, TurnsEndedError

_READY, _DONE, _GO, _END = b"r", b"d", b"g", b"e"
_POLL_S = 0.05
_LONGEST_ADDRESS = 100
"""Bytes; Linux takes 107, other systems 103."""
_SETTLE_S = 0.01
"""Between two turns: ONNX Runtime's threads spin for some milliseconds after they ran."""


class ClosedError(Exception):
    """The other side of the turns is gone."""


@contextmanager
def short_address(path: str) -> Iterator[str]:
    """Yield a path to a socket that fits into the about 100 bytes which the system takes.

    A folder for temporary files may have a longer name: Linux names it by an open descriptor then.
    """
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS or not hasattr(os, "O_PATH"):
        yield path
        return
    folder, name = os.path.split(path)
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


class Place:
    """A job's place among those that take turns; in the worker.

    Args:
        address: The socket's path.
    """

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        with short_address(address) as short:
            self._socket.connect(short)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until nobody else runs; the next wait ends the turn.

        Raises:
            ClosedError: The parent is gone, or has given up on all of them.
        """
        self._socket.sendall(_READY)
        if self._socket.recv(1) != _GO:
            raise ClosedError("the turns ended before this job had all of its own")
        yield

    def leave(self) -> None:
        """Say that there is nothing more to time, and wait until that is so for all."""
        self._socket.sendall(_DONE)
        if self._socket.recv(1) != _END:
            raise ClosedError("the turns ended before all jobs had theirs")

    def close(self) -> None:
        """Give up the place."""
        self._socket.close()


@dataclass
class _Participant:
    """A job as the parent sees it: its future, and its connection once it is ready."""

    number: int
    future: Future[JobResult]
    connection: socket.socket | None = None
    done: bool = False

    def ended(self) -> TurnsEndedError:
        """Return the error that says how it ended."""
        return TurnsEndedError(self.number, self.future.result())


def interleave(
    submit: Callable[[Job], Future[JobResult]],
    jobs: Sequence[Job],
    order: random.Random,
    seconds: float | None = None,
) -> list[JobResult]:
    """Run jobs of kind ``measure`` so that one at a time works, and each again and again.

    They are started one after another: a job loads and warms up while the others wait.

    Args:
        submit: Starts a job.
        jobs: What runs.
        order: Draws who goes next; every job once before any goes twice.
        seconds: Give up after so long; None: never.

    Returns:
        The results in the jobs' order.

    Raises:
        TurnsEndedError: A job ended before it had its turns; the others are ended too.
        TimeoutError: The time was used up; the jobs still run and are the caller's to cancel.
    """
    end = None if seconds is None else time.monotonic() + seconds
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="paretune-"))
        address = str(Path(folder, "turns"))
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        with short_address(address) as short:
            listener.bind(short)
        listener.listen(len(jobs))
        listener.settimeout(_POLL_S)
        seats: list[_Participant] = []
        for number, job in enumerate(jobs):
            future = submit(replace(job, payload={**job.payload, "turns": address}))
            seat = _Participant(number, future)
            seats.append(seat)
            while seat.connection is None:
                _look_at_the_clock(end)
                try:
                    seat.connection = stack.enter_context(listener.accept()[0])
                except TimeoutError as error:
                    if future.done():  # it never came so far
                        raise seat.ended() from error
            _hear(seat, end)
        while any(not seat.done for seat in seats):
            playing = [seat for seat in seats if not seat.done]
            for seat in order.sample(playing, len(playing)):
                time.sleep(_SETTLE_S)
                _tell(seat, _GO)
                _hear(seat, end)
        for seat in seats:
            _tell(seat, _END)
        left = None if end is None else max(0.0, end - time.monotonic())
        return [seat.future.result(timeout=left) for seat in seats]


def _tell(seat: _Participant, message: bytes) -> None:
    assert seat.connection is not None
    try:
        seat.connection.sendall(message)
    except OSError as error:  # it died
        raise seat.ended() from error


def _hear(seat: _Participant, end: float | None) -> None:
    """Wait for a job's next word."""
    assert seat.connection is not None
    seat.connection.settimeout(_POLL_S)
    said = None
    while said is None:
        _look_at_the_clock(end)
        try:
            said = seat.connection.recv(1)
        except TimeoutError:
            continue
        except OSError as error:
            raise seat.ended() from error
    if said not in (_READY, _DONE):  # nothing: it died
        raise seat.ended()
    seat.done = said == _DONE


def _look_at_the_clock(end: float | None) -> None:
    if end is not None and time.monotonic() >= end:
        raise TimeoutError("the turns took longer than there was time for")
