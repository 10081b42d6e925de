"""Keeps the store of a far side within a size: what was used longest ago is removed first.

What counts are files that arrived, artifacts that were built there, and checkpoints. A file that
belongs to two of them (hard links) counts once, and its bytes are free when both are removed. What
a job there uses now is not removed: its files are links and copies of its own, and its artifacts
are held. What a study of that machine itself uses stays, too.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from paretune.core.folders import folder_files
from paretune.store import checkpoints, gc
from paretune.store.artifacts import Store
from paretune.targets.transports.files import FileStore

_Inode = tuple[int, int]
_LEAVES_FREE = 100_000_000
"""Bytes of the disk that files which arrive do not fill."""


@dataclass(frozen=True)
class _Item:
    """What can be removed.

    Attributes:
        used: When it was used last, in seconds since the epoch.
        inodes: Of its files, with their sizes.
        remove: Removes it; False: it is in use.
    """

    used: float
    inodes: dict[_Inode, int]
    remove: Callable[[], bool]


@dataclass(frozen=True)
class Freed:
    """What was removed.

    Attributes:
        bytes: How much is free now that was not.
        items: How many files, artifacts and checkpoints.
        left: Bytes that the store has now.
    """

    bytes: int = 0
    items: int = 0
    left: int = 0


def make_room(
    files: FileStore, budget: int | None, wanted: int, keep: Collection[str] = ()
) -> Freed:
    """Remove what was used longest ago, until a store is within its budget, and on its disk.

    Args:
        files: The files of the store.
        budget: Bytes that it may have; None: as many as the disk.
        wanted: Bytes that are about to arrive.
        keep: Files that jobs wait for, by SHA-256.

    Returns:
        What was removed; the store may have more than its budget where jobs need that.
    """
    lacking = wanted + _LEAVES_FREE - shutil.disk_usage(files.root).free
    if budget is None and lacking <= 0:
        return Freed()
    store = Store(files.root)
    items = sorted((*_files(files, keep), *_artifacts(store)), key=lambda item: item.used)
    owners: dict[_Inode, int] = defaultdict(int)
    sizes: dict[_Inode, int] = {}
    for item in items:
        for inode, size in item.inodes.items():
            owners[inode] += 1
            sizes[inode] = size
    total, freed, count = sum(sizes.values()), 0, 0
    most = total if budget is None else budget - wanted
    if lacking > 0:
        most = min(most, total - lacking)
    for item in items:
        if total <= most:
            break
        if not item.remove():
            continue
        count += 1
        for inode, size in item.inodes.items():
            owners[inode] -= 1
            if not owners[inode]:
                total, freed = total - size, freed + size
    return Freed(freed, count, total)


def _files(files: FileStore, keep: Collection[str]) -> Iterator[_Item]:
    for path, found in files.found():

        def remove(path: Path = path) -> bool:
            if path.name in keep:
                return False
            path.unlink(missing_ok=True)
            return True

        inode = (found.st_dev, found.st_ino)
        yield _Item(found.st_ctime, {inode: found.st_size}, remove)


def _artifacts(store: Store) -> Iterator[_Item]:
    for artifact in gc.artifacts(store):
        if checkpoints.is_name(artifact.digest):
            folder = checkpoints.folder_of(store, checkpoints.key_of(artifact.digest))
        else:
            folder = store.object_path(artifact.digest)

        def remove(artifact: gc.Artifact = artifact) -> bool:
            # A job that was killed is still listed, but its folder is gone.
            used = any(Path(study).is_dir() for study in artifact.studies)
            return not used and gc.remove(store, artifact)

        yield _Item(artifact.used, _inodes(folder), remove)


def _inodes(folder: Path) -> dict[_Inode, int]:
    found = {}
    for path in folder_files(folder):
        try:
            seen = os.stat(path)
        except FileNotFoundError:  # removed meanwhile
            continue
        found[seen.st_dev, seen.st_ino] = seen.st_size
    return found
