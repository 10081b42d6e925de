"""Files by digest: what has arrived on a measuring device, and how files travel in a stream.

Each file is kept once under the SHA-256 of its content, so packages of the same artifact with other
runtime settings share all but their small configuration files. A file arrives in the store's
staging folder, is compared with its digest, and is renamed into place; files of a stream that broke
off in the middle stay, and are not sent again.

::

    STORE/files/SHA256          read-only; its time of change is `_VERIFIED_NS` once it is verified

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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO

from paretune.core.errors import TransientError, UsageError
from paretune.core.stamps import Stamped, file_digest
from paretune.models.containment import leads_out
from paretune.store.staging import Staging
from paretune.targets.transports.streams import entries

_VERIFIED_NS = 946_684_800_000_000_000
"""1 January 2000: a time that no write sets."""
_LINK_FROM_BYTES = 1 << 20
_DIGEST = re.compile("[0-9a-f]{64}")


class FileStore:
    """The files of a store that arrived from elsewhere.

    Args:
        root: The store's folder; made if absent.
    """

    def __init__(self, root: Path) -> None:
        self._files = root / "files"
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
            place = self.path(entry.name)
            if left is not None:
                if entry.name not in left:
                    raise UsageError(f"the file {entry.name[:12]} in the stream was not asked for")
                size = left.pop(entry.name)
                if size is not None and size != entry.size:
                    raise UsageError(
                        f"the file {entry.name[:12]} has {entry.size} bytes, announced were {size}"
                    )
            self._take(entry.name, place, entry.pieces())
            count += 1
        return count

    def _take(self, digest: str, place: Path, content: Iterator[bytes]) -> None:
        with self._staging.folder() as stage:
            arrived, seen = stage / digest, hashlib.sha256()
            with open(arrived, "wb") as out:
                for piece in content:
                    seen.update(piece)
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())
            if seen.hexdigest() != digest:
                raise TransientError(
                    f"a file arrived with another content than was announced ({digest[:12]})",
                    hint="Was it being written while it was sent?",
                )
            arrived.chmod(0o444)
            _mark(arrived)
            arrived.replace(place)

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
                if source.stat().st_size >= _LINK_FROM_BYTES:
                    with suppress(OSError):  # another file system, or one without hard links
                        os.link(source, target)
                        continue
                shutil.copyfile(source, target)
            except FileNotFoundError as error:
                raise TransientError(f"a file that had arrived is gone ({digest[:12]})") from error


def send(files: Iterable[Stamped], stream: IO[bytes]) -> int:
    """Write files into a stream that `FileStore.receive` reads.

    Args:
        files: With their digests.
        stream: It stays open.

    Returns:
        How many bytes the files have.

    Raises:
        TransientError: A file is gone, or has changed its size.
        OSError: The stream is closed on the other side.
    """
    total = 0
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for file in files:
            try:
                source = open(file.path, "rb")  # noqa: SIM115 (closed below)
            except OSError as error:
                raise TransientError(f"{file.path} cannot be read: {error.strerror}") from error
            with source:
                entry = tarfile.TarInfo(file.sha256)
                entry.size = os.fstat(source.fileno()).st_size
                archive.addfile(entry, source)
                total += entry.size
    return total


def _mark(path: Path) -> None:
    os.utime(path, ns=(_VERIFIED_NS, _VERIFIED_NS))


def _inside(name: str) -> PurePosixPath:
    """Return a relative name that stays in its folder."""
    path = PurePosixPath(name)
    if leads_out(name) or not path.parts:
        raise UsageError(f"the file name {name[:80]!r} leads out of its folder")
    return path
