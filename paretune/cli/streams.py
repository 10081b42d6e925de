"""Standard streams that are always open, and whose errors never end a command."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import TextIO

_GONE = (errno.EPIPE, errno.EIO, errno.ECONNRESET, errno.ENXIO)
"""The reader disconnected: a closed pager, `head`, a terminal that hung up."""


class Output(io.FileIO):
    """A standard stream that accepts every write, whether it can still be written or not.

    A search continues without its output when the reader disconnects; `lost` has other errors.

    Args:
        descriptor: 1 or 2.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.lost: OSError | None = None

    def write(self, data: object) -> int:
        """Write, or drop what cannot be written; returns the number of bytes accepted."""
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        if self.lost is not None:
            return len(view)
        try:
            written = super().write(view)
            while written is None:  # the descriptor does not block, and its reader is slow
                poll = select.poll()
                poll.register(self.fileno(), select.POLLOUT)
                poll.poll()
                written = super().write(view)
        except OSError as error:
            self.lost = error
            return len(view)
        return written


def open_standard_streams() -> Output:
    """Make the three standard streams usable, however the process was started.

    A closed descriptor becomes the null device; otherwise the next file that is opened would get
    its number, and be written to. A character that the encoding lacks is written as an escape.

    Returns:
        The standard output.
    """
    _fill_descriptors()
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - until the end
    sys.stdout, raw = _stream(1, sys.stdout)
    sys.stderr, _ = _stream(2, sys.stderr)
    return raw


def _fill_descriptors() -> None:
    while True:
        number = os.open(os.devnull, os.O_RDWR)
        if number > 2:
            os.close(number)
            return
        os.set_inheritable(number, True)


def _stream(descriptor: int, before: TextIO | None) -> tuple[io.TextIOWrapper, Output]:
    encoding = getattr(before, "encoding", None) or "utf-8"
    if before is not None:
        before.flush()
    raw = Output(descriptor)
    text = io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=True
    )
    return text, raw


def what_was_lost(output: Output) -> str | None:
    """Return why standard output is incomplete, unless its reader disconnected."""
    error = output.lost
    if error is None or error.errno in _GONE:
        return None
    return error.strerror or str(error)
