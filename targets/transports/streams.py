"""Reads a stream of files that somebody else wrote: a tar archive of regular files, nothing more.

Python's `tarfile` follows links inside an archive, fills sparse files and reads extended headers of
any size into memory. What travels here needs none of that.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

from paretune.core.errors import TransientError, UsageError

_BLOCK = tarfile.BLOCKSIZE
_PIECE = 1 << 20
_MOST_EXTENDED = 1 << 16
"""Bytes of an extended header; that of a file of more than 8 GiB has about 20."""
_MOST_PADDING = 2 * tarfile.RECORDSIZE
"""Bytes of zeros after the last file."""
_LARGEST = 1 << 60
_WRITTEN_BY_US = frozenset({"size"})


@dataclass
class Entry:
    """A file in a stream.

    Attributes:
        name: As it is in the stream.
        size: Bytes.
    """

    name: str
    size: int
    _stream: IO[bytes]
    _left: int = field(init=False)

    def __post_init__(self) -> None:
        self._left = self.size

    def pieces(self) -> Iterator[bytes]:
        """Yield the content.

        Raises:
            TransientError: The stream broke off.
        """
        while self._left:
            piece = self._stream.read(min(self._left, _PIECE))
            if not piece:
                raise _broken(f"{self._left} of {self.size} bytes of a file are missing")
            self._left -= len(piece)
            yield piece


def entries(stream: IO[bytes]) -> Iterator[Entry]:
    """Yield the files of a stream; each is read before the next one.

    Raises:
        TransientError: The stream broke off.
        UsageError: It holds something else than regular files.
    """
    size: int | None = None
    while (header := _header(stream)) is not None:
        if header.type == tarfile.XHDTYPE and size is None:
            size = _size_in(stream, header)
            continue
        if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise UsageError(f"{header.name[:80]!r} in the stream is not a regular file")
        entry = Entry(header.name, _checked(header.size if size is None else size), stream)
        yield entry
        for _ in entry.pieces():  # what nobody read
            pass
        _exactly(stream, -entry.size % _BLOCK)
        size = None
    _end(stream)


def _header(stream: IO[bytes]) -> tarfile.TarInfo | None:
    """Return the next header; None at the end of the archive."""
    block = _exactly(stream, _BLOCK)
    if not block.strip(b"\0"):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise _broken(str(error)) from error


def _size_in(stream: IO[bytes], header: tarfile.TarInfo) -> int | None:
    """Return the size that an extended header gives, where the plain one has no room for it."""
    if not 0 <= header.size <= _MOST_EXTENDED:
        raise UsageError(f"an extended header in the stream has {header.size} bytes")
    text = _exactly(stream, header.size)
    _exactly(stream, -header.size % _BLOCK)
    found: dict[str, str] = {}
    try:
        while text:
            length = int(text.partition(b" ")[0])
            record, text = text[:length], text[length:]
            key, equals, value = record.partition(b" ")[2].decode().partition("=")
            if length != len(record) or not equals or not value.endswith("\n"):
                raise ValueError("a record breaks off")
            found[key] = value[:-1]
        size = None if "size" not in found else int(found["size"])
    except ValueError as error:
        raise UsageError(f"an extended header in the stream cannot be read: {error}") from error
    if not found.keys() <= _WRITTEN_BY_US:
        raise UsageError(f"an extended header in the stream sets {sorted(found)[0][:80]!r}")
    return size


def _checked(size: int) -> int:
    if not 0 <= size < _LARGEST:
        raise UsageError(f"a file in the stream has {size} bytes")
    return size


def _end(stream: IO[bytes]) -> None:
    """Read the zeros after the last file, for which the other side waits."""
    rest = b""
    while len(rest) <= _MOST_PADDING and (piece := stream.read(_MOST_PADDING + 1)):
        rest += piece
    if len(rest) > _MOST_PADDING or rest.strip(b"\0"):
        raise UsageError("the stream goes on after its last file")


def _exactly(stream: IO[bytes], count: int) -> bytes:
    found = b""
    while len(found) < count:
        piece = stream.read(count - len(found))
        if not piece:
            raise _broken("unexpected end of data")
        found += piece
    return found


def _broken(reason: str) -> TransientError:
    return TransientError(f"the stream of files broke off: {reason}")
