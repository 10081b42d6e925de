"""Compresses a stream of files where that is faster than sending it as it is.

Weights hardly become smaller, and a fast connection outruns any compression; a slow one gains from
little. What pays is decided by two measurements: how fast the last transfers on this connection
were, and how fast and how much a sample of the files is compressed. A stream begins with a byte
that says which it is.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from paretune.core.errors import TransientError

_PLAIN, _PACKED = b"P", b"Z"
_LEVEL = 1
_SAMPLE_BYTES = 1 << 20
_LEAST_BYTES = 4 << 20
"""Less is not compressed."""
_LEAST_MEASURED = 16 << 20
"""What lies in buffers on the way is a small part of it."""
_GAIN = 0.8
"""What compression must bring the time down to: the other side has work with it, too."""
_PIECE = 1 << 18


@dataclass
class Rate:
    """How fast a connection is.

    Attributes:
        bytes_per_s: As measured by the last large transfer; None: not known yet.
    """

    bytes_per_s: float | None = None

    def note(self, sent: int, seconds: float) -> None:
        """Note a transfer.

        Args:
            sent: Bytes on the connection.
            seconds: What they took.
        """
        if sent >= _LEAST_MEASURED and seconds > 0:
            self.bytes_per_s = sent / seconds


def pays(files: Sequence[Path], total: int, bytes_per_s: float | None) -> bool:
    """Return whether compression makes a transfer faster.

    Args:
        files: What is sent; a sample of the largest one is compressed here and now.
        total: Its bytes.
        bytes_per_s: Of the connection; None: not known.
    """
    if bytes_per_s is None or total < _LEAST_BYTES:
        return False
    largest = max(files, key=lambda path: path.stat().st_size)
    with open(largest, "rb") as source:
        source.seek(max(0, largest.stat().st_size // 2 - _SAMPLE_BYTES // 2))
        sample = source.read(_SAMPLE_BYTES)
    if not sample:
        return False
    begin = time.perf_counter()
    packed = len(zlib.compress(sample, _LEVEL)) / len(sample)
    speed = len(sample) / max(time.perf_counter() - begin, 1e-9)
    return is_faster(packed, speed, bytes_per_s)


def is_faster(packed: float, speed: float, bytes_per_s: float) -> bool:
    """Return whether a stream that is compressed while it is sent arrives earlier.

    Args:
        packed: Compressed size as a share.
        speed: Of compression, in bytes per second.
        bytes_per_s: Of the connection.
    """
    return max(1 / speed, packed / bytes_per_s) < _GAIN / bytes_per_s


class Writes(Protocol):
    """What a stream is written to."""

    def write(self, data: bytes, /) -> int:
        """Write all of it."""


class Packed:
    """A stream that is written to another one, compressed or not; a context manager.

    Args:
        stream: The other one; it stays open.
        compress: Whether it is.

    Attributes:
        bytes: How many the other one was given.
    """

    def __init__(self, stream: Writes, *, compress: bool) -> None:
        self._stream = stream
        self._zlib = zlib.compressobj(_LEVEL) if compress else None
        self.bytes = 0
        self._put(_PACKED if compress else _PLAIN)

    def write(self, data: bytes) -> int:
        """Write bytes; returns how many."""
        self._put(bytes(data) if self._zlib is None else self._zlib.compress(data))
        return len(data)

    def __enter__(self) -> Packed:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._zlib is not None:
            self._put(self._zlib.flush())

    def _put(self, data: bytes) -> None:
        if data:
            self._stream.write(data)
            self.bytes += len(data)


class Unpacked:
    """Reads what a `Packed` wrote; however much it unpacks to, little of it is held.

    Args:
        stream: The other one.

    Attributes:
        bytes: How many were read from it.
        begun: When the first one came (`time.monotonic`).
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._zlib: zlib._Decompress | None = None
        self._has_begun = False
        self.begun = 0.0
        self.bytes = 0

    def read(self, size: int = -1) -> bytes:
        """Read up to so many bytes; none: the stream has ended.

        Raises:
            TransientError: It is damaged, or breaks off.
        """
        if not self._has_begun:
            self._begin()
        if self._zlib is None:
            return self._more(size)
        if size == 0:
            return b""
        most = _PIECE if size < 0 else min(size, _PIECE)
        while not self._zlib.eof:
            source = self._zlib.unconsumed_tail or self._more(_PIECE)
            if not source:
                raise TransientError("the stream of files broke off: it is not whole")
            try:
                found = self._zlib.decompress(source, most)
            except zlib.error as error:
                raise TransientError(f"the stream of files broke off: {error}") from error
            if found:
                return found
        if self._zlib.unused_data or self._more(1):
            raise TransientError("the stream of files goes on after its end")
        return b""

    def _begin(self) -> None:
        kind = self._more(1)
        if kind not in (_PLAIN, _PACKED):
            raise TransientError("the stream of files broke off: unexpected end of data")
        self._has_begun, self.begun = True, time.monotonic()
        if kind == _PACKED:
            self._zlib = zlib.decompressobj()

    def _more(self, size: int) -> bytes:
        found = self._stream.read(size)
        self.bytes += len(found)
        return found
