"""Interleaved jobs: all are loaded and wait, and one at a time does a part of its work.

A job says `Word.READY` when it has loaded what it measures and before each further turn, and
`Word.DONE` after its last one; it waits for the parent's answer each time. If either side
disconnects, the other stops waiting. On one machine, the two talk over a Unix socket per job, in a
folder that only this user may enter; an agent passes the same words on as messages.
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
from enum import Enum
from pathlib import Path
from typing import Protocol

from paretune.core.job import Job, JobResult, TurnsEndedError

_GO = b"g"
_POLL_S = 0.05
_LONGEST_ADDRESS = 100
"""Bytes; Linux takes 107, other systems 103."""
_SETTLE_S = 0.01
"""Between two turns: ONNX Runtime's threads spin for some milliseconds after they ran."""


class Word(Enum):
    """What a job says: that it waits for a turn, or that it needs no more of them."""

    READY = b"r"
    DONE = b"d"


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
    """A job's place among the interleaved jobs; in the worker.

    Args:
        address: The socket's path.
    """

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        with short_address(address) as short:
            self._socket.connect(short)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until no other job runs; the next wait ends the turn.

        Raises:
            ClosedError: The parent is gone, or has given up on all of them.
        """
        self._socket.sendall(Word.READY.value)
        if self._socket.recv(1) != _GO:
            raise ClosedError("the turns ended before this job had all of its own")
        yield

    def leave(self) -> None:
        """Say that there is nothing more to time, and wait until that is so for all."""
        self._socket.sendall(Word.DONE.value)
        if self._socket.recv(1) != _GO:
            raise ClosedError("the turns ended before all jobs had theirs")

    def close(self) -> None:
        """Give up the place."""
        self._socket.close()


@contextmanager
def place_at(address: str | None) -> Iterator[Place | None]:
    """Yield a job's place, and leave it well; None where the job runs by itself.

    Args:
        address: The socket's path; None: the job is not interleaved.
    """
    if address is None:
        yield None
        return
    place = Place(address)
    try:
        yield place
        place.leave()
    finally:
        place.close()


class Participant(Protocol):
    """An interleaved job as the parent sees it."""

    @property
    def future(self) -> Future[JobResult]:
        """The job's result."""

    def hear(self, seconds: float) -> Word | None:
        """Return the job's next word; None if there is none within so many seconds.

        Raises:
            ClosedError: The job is gone.
        """

    def go(self) -> None:
        """Give it a turn; after its `Word.DONE`: let it end.

        Raises:
            ClosedError: The job is gone.
        """


class SocketParticipant:
    """A job of this machine, which connects to a socket once it has loaded what it measures.

    Args:
        submit: Starts the job, which is given the socket's path.
    """

    def __init__(self, submit: Callable[[str], Future[JobResult]]) -> None:
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="paretune-"))
            address = str(Path(folder, "turns"))
            self._listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            with short_address(address) as short:
                self._listener.bind(short)
            self._listener.listen(1)
            self.future = submit(address)
            self._connection: socket.socket | None = None
            self._stack = stack.pop_all()

    def hear(self, seconds: float) -> Word | None:
        """Return the job's next word; None if there is none within so many seconds.

        Raises:
            ClosedError: The job is gone.
        """
        try:
            if self._connection is None:
                self._listener.settimeout(seconds)
                self._connection = self._stack.enter_context(self._listener.accept()[0])
            self._connection.settimeout(seconds)
            return Word(self._connection.recv(1))
        except TimeoutError:
            return None
        except (OSError, ValueError) as error:  # it died
            raise ClosedError("the job is gone") from error

    def go(self) -> None:
        """Give it a turn; after its `Word.DONE`: let it end.

        Raises:
            ClosedError: The job is gone.
        """
        if self._connection is None:
            raise ClosedError("the job has not connected")
        try:
            self._connection.sendall(_GO)
        except OSError as error:  # it died
            raise ClosedError("the job is gone") from error

    def close(self) -> None:
        """Disconnect: a job that still waits ends."""
        self._stack.close()


def interleave(
    begin: Callable[[Job, ExitStack], Participant],
    jobs: Sequence[Job],
    order: random.Random,
    seconds: float | None = None,
) -> list[JobResult]:
    """Run measuring jobs so that one at a time works, and each again and again.

    They are started one after another: a job loads and warms up while the others wait.

    Args:
        begin: Starts a job; what has to be closed at the end goes into the stack.
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
        seats: list[Participant] = []
        playing: list[int] = []
        for number, job in enumerate(jobs):
            seats.append(begin(job, stack))
            if _word(number, seats[number], end) is Word.READY:
                playing.append(number)
        while playing:
            for number in order.sample(playing, len(playing)):
                time.sleep(_SETTLE_S)
                _go(number, seats[number])
                if _word(number, seats[number], end) is Word.DONE:
                    playing.remove(number)
        for number, seat in enumerate(seats):
            _go(number, seat)
        left = None if end is None else max(0.0, end - time.monotonic())
        return [seat.future.result(timeout=left) for seat in seats]


def _go(number: int, seat: Participant) -> None:
    try:
        seat.go()
    except ClosedError as error:
        raise TurnsEndedError(number, seat.future.result()) from error


def _word(number: int, seat: Participant, end: float | None) -> Word:
    """Wait for a job's next word."""
    while end is None or time.monotonic() < end:
        try:
            said = seat.hear(_POLL_S)
        except ClosedError as error:
            raise TurnsEndedError(number, seat.future.result()) from error
        if said is not None:
            return said
        if seat.future.done():  # it ended before its first word
            raise TurnsEndedError(number, seat.future.result())
    raise TimeoutError("the turns took longer than there was time for")
