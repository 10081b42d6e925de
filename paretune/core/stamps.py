"""What a file looks like from outside, taken together with the digest of its content.

Size, time of change, inode and time of the inode's change: a write changes at least one of them,
also where it keeps size and time (``cp -p``, ``rsync -a``, ``touch -r``), for the last one is set
by the system alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from paretune.core.errors import UsageError
from paretune.core.jsontools import Json

_TRIES = 3


@dataclass(frozen=True)
class Stamp:
    """A file from outside.

    Attributes:
        size: In bytes.
        mtime_ns: Time of the content's last change, in ns.
        inode: Its inode (and device).
        ctime_ns: Time of the inode's last change, in ns; a hard link or chmod changes it too.
    """

    size: int
    mtime_ns: int
    inode: tuple[int, int]
    ctime_ns: int

    def same_but_for_links(self, other: Stamp) -> bool:
        """Return whether at most the inode's own time differs, as after a link or a chmod."""
        return (self.size, self.mtime_ns, self.inode) == (other.size, other.mtime_ns, other.inode)


@dataclass(frozen=True)
class Stamped:
    """A file's content and how the file looked when it was read.

    Attributes:
        path: The file.
        name: What it is called in its folder, with ``/``.
        stamp: Taken before its content was read, and the same afterwards.
        sha256: Hex digest of its content.
    """

    path: Path
    name: str
    stamp: Stamp
    sha256: str

    def to_json(self) -> list[Json]:
        """Return everything as one list."""
        s = self.stamp
        return [str(self.path), self.name, self.sha256, s.size, s.mtime_ns, *s.inode, s.ctime_ns]

    @classmethod
    def from_json(cls, value: list[Json]) -> Stamped:
        """Read what `to_json` wrote."""
        path, name, sha256, size, mtime, device, inode, ctime = value
        return cls(Path(path), name, Stamp(size, mtime, (device, inode), ctime), sha256)


@dataclass(frozen=True)
class InputFiles:
    """Files that a job reads, with their digests.

    Attributes:
        what: What they are, for messages: ``data tone.train``, ``pass mine``, ``model 'x'``.
        files: In a fixed order.
        folder: The model's folder, if they are a model: no other file may join them; None: they
            are a data set's, a plug-in's or a parameter's.
        elsewhere: Whether this machine has none of them: only the far side reads and checks them.
        stays: Whether they do not travel: what they hold does, in another file.
    """

    what: str
    files: tuple[Stamped, ...]
    folder: Path | None = None
    elsewhere: bool = False
    stays: bool = False


def stamp(path: Path) -> Stamp:
    """Return how a file looks now; of a link, what it leads to.

    Raises:
        OSError: It is not there.
    """
    found = os.stat(path)
    inode = (found.st_dev, found.st_ino)
    return Stamp(found.st_size, found.st_mtime_ns, inode, found.st_ctime_ns)


def file_digest(path: Path) -> str:
    """Return the hex SHA-256 of a file's content."""
    with open(path, "rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def take(path: Path, name: str | None = None) -> Stamped:
    """Read a file for its digest; it may not change meanwhile.

    Args:
        path: The file.
        name: What it is called; by default its own name.

    Raises:
        UsageError: It is being written, or is gone.
    """
    try:
        for _ in range(_TRIES):
            before = stamp(path)
            content = file_digest(path)
            if stamp(path) == before:
                return Stamped(path, path.name if name is None else name, before, content)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", hint="Is it being moved or replaced?"
        ) from error
    raise UsageError(f"{path} is being written", hint="Begin again when it is complete.")


def take_all(folder: Path, files: Iterable[Path]) -> tuple[Stamped, ...]:
    """Read files of a folder for their digests, in the given order (see `take`)."""
    return tuple(take(path, path.relative_to(folder).as_posix()) for path in files)


def joint_digest(files: Iterable[Stamped]) -> str:
    """Return the content digest of several files: names and contents, not times or places."""
    lines = "".join(f"{file.name}\0{file.sha256}\n" for file in files)
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()
