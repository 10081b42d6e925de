"""Files by digest: what has arrived on a measuring device, and how files travel in a stream.

Each file is kept once under the SHA-256 of its content, so packages of the same artifact with other
runtime settings share all but their small configuration files. A file arrives in the store's
staging folder, is compared with its digest, and is renamed into place; files of a stream that broke
off in the middle stay, and are not sent again. Of a large file that was on its way then, the
beginning stays, and the next stream may continue it.

::

    STORE/files/SHA256          read-only; its time of change is `_VERIFIED_NS` once it is verified
    STORE/partial/SHA256        the beginning of a file; it is verified when it is whole
    STORE/incoming/SHA256       what rsync has brought (`paretune.targets.transports.rsync`)

A job gets a folder of its own with links to large files and copies of small ones. A job that
writes into a link changes its time, so that the file is read again before the next job, and sent
again if its content is another one.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, cast

from paretune.core.errors import TransientError, UsageError
from paretune.core.stamps import Stamped, file_digest, stamp
from paretune.models.containment import leads_out
from paretune.store.staging import Staging
from paretune.targets.transports.packing import Writes
from paretune.targets.transports.streams import entries

_VERIFIED_NS = 946_684_800_000_000_000
"""1 January 2000: a time that no write sets."""
_LINK_FROM_BYTES = 1 << 20
INCOMING = "incoming"
"""The folder of a store where another program may put files, under their digests."""
_MOST_BEGUN = 1000
_LARGEST = 1 << 60
_IDLE_S = 3600.0
"""An rsync that has written nothing for so long has ended."""
_DIGEST = re.compile("[0-9a-f]{64}")


class FileStore:
    """The files of a store that arrived from elsewhere.

    Args:
        root: The store's folder; made if absent.
        folder: Name of the folder in it that keeps the files.

    Attributes:
        root: The store's folder.
    """

    def __init__(self, root: Path, folder: str = "files") -> None:
        self.root = root
        self._files = root / folder
        self._partial = root / "partial"
        self._files.mkdir(parents=True, exist_ok=True)
        self._staging = Staging(root / "staging", root / "locks")
        self._staging.sweep()

    def missing(self, digests: Iterable[str]) -> tuple[str, ...]:
        """Return the digests of which no intact file is there, each once."""
        return tuple(each for each in dict.fromkeys(digests) if not self._is_intact(each))

    def path(self, digest: str) -> Path:
        """Return where a file lies or will lie."""
        if _DIGEST.fullmatch(digest) is None:
            raise UsageError(f"{digest[:80]!r} is not a SHA-256 in hexadecimal digits")
        return self._files / digest

    def _is_intact(self, digest: str) -> bool:
        path = self.path(digest)
        try:
            if path.stat().st_mtime_ns == _VERIFIED_NS:
                return True
            if file_digest(path) == digest:
                _mark(path)
                return True
        except FileNotFoundError:
            return False
        path.unlink(missing_ok=True)
        return False

    def receive(self, stream: IO[bytes], wanted: Mapping[str, int | None] | None = None) -> int:
        """Take over all files of a stream that `send` wrote.

        Args:
            stream: It is read to its end.
            wanted: The digests that were asked for, each with the size in bytes that was announced
                (None: any size); None: whatever the sender sends, because it is trusted.

        Returns:
            How many there were.

        Raises:
            TransientError: The stream broke off, or the content of a file is not what its digest
                says; the files before it were taken over.
            UsageError: It holds something else than files that are named by a digest, or one that
                was not asked for; the files before it were taken over.
        """
        left = None if wanted is None else dict(wanted)
        count = 0
        for entry in entries(stream):
            name, offset = _named(entry.name)
            place = self.path(name)
            if left is not None:
                if name not in left:
                    raise UsageError(f"the file {name[:12]} in the stream was not asked for")
                size = left.pop(name)
                if size is not None and size != entry.size + offset:
                    raise UsageError(
                        f"the file {name[:12]} has {entry.size + offset} bytes, announced were "
                        f"{size}"
                    )
            self._take(name, place, entry.pieces(), offset)
            count += 1
        return count

    def take(self, digest: str, content: Iterator[bytes], offset: int = 0) -> None:
        """Take over one file.

        Args:
            digest: Of its whole content.
            content: What follows after `offset`; if it ends by a `TransientError`, the beginning
                of a large file is kept (see `begun`).
            offset: How many bytes of it are there already.

        Raises:
            TransientError: It has another content, or did not arrive whole.
        """
        self._take(digest, self.path(digest), content, offset)

    def take_in(self) -> int:
        """Take over the files that another program has put into `INCOMING`, under their digests.

        Returns:
            How many there were.

        Raises:
            TransientError: One has another content; it is removed.
        """
        count = 0
        for path in sorted((self.root / INCOMING).glob("*")):
            if _DIGEST.fullmatch(path.name) is None or path.is_symlink() or not path.is_file():
                continue
            with suppress(FileNotFoundError), self._staging.folder() as stage:
                arrived = stage / path.name
                os.replace(path, arrived)  # nobody else takes it now
                self._verified(arrived, file_digest(arrived), self.path(path.name))
                count += 1
        return count

    def begun(self) -> dict[str, int]:
        """Return the files of which only the beginning is there, by digest, with their bytes."""
        found: dict[str, int] = {}
        with suppress(FileNotFoundError):
            for path in self._partial.iterdir():
                if _DIGEST.fullmatch(path.name) and len(found) < _MOST_BEGUN:
                    with suppress(FileNotFoundError):
                        found[path.name] = path.stat().st_size
        return found

    def _take(self, digest: str, place: Path, content: Iterator[bytes], offset: int = 0) -> None:
        with self._staging.folder() as stage:
            arrived, seen = stage / digest, hashlib.sha256()
            if offset:
                self._continue(digest, arrived, offset, seen.update)
            with open(arrived, "ab") as out:
                try:
                    for piece in content:
                        seen.update(piece)
                        out.write(piece)
                except TransientError:
                    out.flush()
                    self._interrupted(arrived)
                    raise
            self._verified(arrived, seen.hexdigest(), place)

    def _verified(self, arrived: Path, content: str, place: Path) -> None:
        """Rename a file that has arrived to its place, if its content is what its name says."""
        if content != place.name:
            raise TransientError(
                other_content(place.name),
                hint="Was it being written while it was sent?",
            )
        with open(arrived, "rb") as source:
            os.fsync(source.fileno())
        arrived.chmod(0o444)
        _mark(arrived)
        arrived.replace(place)

    def _continue(
        self, digest: str, arrived: Path, offset: int, seen: Callable[[bytes], object]
    ) -> None:
        """Move the beginning of a file to where its end will arrive."""
        with suppress(FileNotFoundError):
            os.replace(self._partial / digest, arrived)
            if arrived.stat().st_size >= offset:
                os.truncate(arrived, offset)
                with open(arrived, "rb") as source:
                    while piece := source.read(_LINK_FROM_BYTES):
                        seen(piece)
                return
        raise TransientError(f"the beginning of a file is not there any more ({digest[:12]})")

    def _interrupted(self, arrived: Path) -> None:
        """Keep the beginning of a file, if it is worth it."""
        if arrived.stat().st_size >= _LINK_FROM_BYTES:
            self._partial.mkdir(exist_ok=True)
            os.replace(arrived, self._partial / arrived.name)

    def adopt(self, path: Path, digest: str) -> None:
        """Take over a file of this store that is not changed any more, without a second copy of it.

        Args:
            path: A file that was just read for its digest.
            digest: Of its content.

        Raises:
            TransientError: It has another content, or is gone.
        """
        place = self.path(digest)
        try:
            if path.stat().st_size >= _LINK_FROM_BYTES:
                with suppress(OSError):  # it is there, or the file system has no hard links
                    os.link(path, place)
                    place.chmod(0o444)
                    _mark(place)
            if self.missing([digest]):
                self.copy(path, digest)
        except FileNotFoundError as error:
            raise TransientError(f"{path} is gone") from error

    def copy(self, path: Path, digest: str, size: int | None = None) -> None:
        """Take over a copy of a file.

        Args:
            path: The file.
            digest: Of its content.
            size: Bytes that are read at most; None: all of it.

        Raises:
            TransientError: It has another content.
            OSError: It cannot be read.
        """

        def pieces() -> Iterator[bytes]:
            left = _LARGEST if size is None else size
            while left and (piece := source.read(min(left, _LINK_FROM_BYTES))):
                left -= len(piece)
                yield piece

        with open(path, "rb") as source:
            self._take(digest, self.path(digest), pieces())

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Yield an empty folder for the files of one job; it is removed afterwards."""
        with self._staging.folder() as folder:
            yield folder

    def lay_out(self, files: Mapping[str, str], folder: Path) -> None:
        """Write files that are there into a folder.

        Args:
            files: Name in the folder (with ``/``) to digest.
            folder: It is made if absent.

        Raises:
            UsageError: A name leads out of the folder.
            TransientError: One of them is not there any more.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name, digest in files.items():
            source, target = self.path(digest), folder / _inside(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                _use(source)
                if source.stat().st_size >= _LINK_FROM_BYTES:
                    with suppress(OSError):  # another file system, or one without hard links
                        os.link(source, target)
                        continue
                shutil.copyfile(source, target)
            except FileNotFoundError as error:
                raise TransientError(f"a file that had arrived is gone ({digest[:12]})") from error

    def found(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Yield every file that is there; the time of its inode's change is when it was used."""
        incoming = self.root / INCOMING
        for place in (self._files, self._partial, incoming, incoming / ".partial"):
            for path in place.glob("[!.]*"):
                with suppress(FileNotFoundError):  # removed meanwhile
                    yield path, path.stat()
        for path in incoming.glob(".*.*"):  # .SHA256.RANDOM: rsync writes it, or was killed
            with suppress(FileNotFoundError):
                if (seen := path.stat()).st_mtime < time.time() - _IDLE_S:
                    yield path, seen

    def discard(self, digests: Iterable[str]) -> None:
        """Remove files that are not needed any more; what was laid out stays."""
        for digest in digests:
            self.path(digest).unlink(missing_ok=True)

    def named(self, digests: Iterable[str]) -> list[Stamped]:
        """Return files that are there, as `send` takes them.

        Raises:
            TransientError: One of them is not there.
            UsageError: A name does not have the form of a digest.
        """
        wanted = list(dict.fromkeys(digests))
        if missing := self.missing(wanted):
            raise TransientError(f"a file is not there any more ({missing[0][:12]})")
        return [Stamped(self.path(d), d, stamp(self.path(d)), d) for d in wanted]


def other_content(digest: str) -> str:
    """Return the message on a file whose content does not have its digest."""
    return f"a file arrived with another content than was announced ({digest[:12]})"


def send(files: Iterable[Stamped], stream: Writes, begun: Mapping[str, int] | None = None) -> int:
    """Write files into a stream that `FileStore.receive` reads.

    Args:
        files: With their digests.
        stream: It stays open.
        begun: How many bytes of files the other side has (`FileStore.begun`).

    Returns:
        How many bytes of files were written.

    Raises:
        TransientError: A file is gone, or has changed its size.
        OSError: The stream is closed on the other side.
    """
    total = 0
    with tarfile.open(
        fileobj=cast(IO[bytes], stream), mode="w|", format=tarfile.PAX_FORMAT
    ) as archive:
        for file in files:
            try:
                source = open(file.path, "rb")  # noqa: SIM115 (closed below)
            except OSError as error:
                raise TransientError(f"{file.path} cannot be read: {error.strerror}") from error
            with source:
                size = os.fstat(source.fileno()).st_size
                offset = min((begun or {}).get(file.sha256, 0), size)
                entry = tarfile.TarInfo(f"{file.sha256}@{offset}" if offset else file.sha256)
                entry.size = size - offset
                source.seek(offset)
                archive.addfile(entry, source)
                total += entry.size
    return total


def _named(name: str) -> tuple[str, int]:
    """Return the digest of a file in a stream, and after how many bytes it begins there."""
    digest, at, offset = name.partition("@")
    if not at:
        return digest, 0
    if not (offset.isascii() and offset.isdecimal() and len(offset) < 19):
        raise UsageError(f"{name[:90]!r} names no valid place in a file")
    return digest, int(offset)


def _mark(path: Path) -> None:
    os.utime(path, ns=(_VERIFIED_NS, _VERIFIED_NS))


def _use(path: Path) -> None:
    """Set the time of a file's inode to now, and leave its own time."""
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def _inside(name: str) -> PurePosixPath:
    """Return a relative name that stays in its folder."""
    path = PurePosixPath(name)
    if leads_out(name) or not path.parts:
        raise UsageError(f"the file name {name[:80]!r} leads out of its folder")
    return path
