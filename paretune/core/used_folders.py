"""Folders that can be made again, and that go while no process uses them.

A process that uses such a folder holds a lock of the kernel (``flock``) on it until the process
ends, however that ends; what it starts by a fork holds it, too. Who cleans up takes a folder aside
only if no process holds it. Where the system has no such locks (Windows), folders stay.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from pathlib import Path

_held: dict[Path, int] = {}
"""Descriptors that have the locks of this process."""
_GONE = ".gone"


def hold(folder: Path) -> bool:
    """Have a folder stay until this process ends.

    Args:
        folder: It; a folder that is renamed afterwards is held under its new name, too.

    Returns:
        False: it was removed meanwhile, and has to be made again.
    """
    if sys.platform == "win32":
        return folder.is_dir()
    import fcntl

    known = _held.get(folder)
    if known is not None and _is(folder, known):
        return True
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    with contextlib.suppress(OSError):  # a file system without locks: it may be removed
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    if not _is(folder, descriptor):
        os.close(descriptor)
        return False
    if known is not None:
        os.close(known)
    _held[folder] = descriptor
    with contextlib.suppress(OSError):  # when it was used last
        os.utime(folder)
    return True


def remove_unused(parent: Path, older_than_s: float = 0.0) -> int:
    """Remove the folders in a folder that no process uses.

    Args:
        parent: Has them.
        older_than_s: Only those that were not used for so many seconds.

    Returns:
        How many were removed.
    """
    if sys.platform == "win32" or not parent.is_dir():
        return 0
    count = 0
    for folder in sorted(parent.iterdir()):
        with contextlib.suppress(OSError):  # another process removed it meanwhile
            old = time.time() - folder.stat().st_mtime >= older_than_s
            if (old or folder.suffix == _GONE) and not folder.is_symlink() and folder.is_dir():
                count += _removed(folder)
    return count


def _removed(folder: Path) -> bool:
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is(folder, descriptor):
            return False
        aside = folder if folder.suffix == _GONE else folder.with_name(f"{folder.name}{_GONE}")
        folder.rename(aside)  # gone at once, however long the removal takes
        shutil.rmtree(aside)
        return True
    finally:
        os.close(descriptor)


def _is(folder: Path, descriptor: int) -> bool:
    """Return whether a descriptor is that of a folder as it is now."""
    try:
        return os.path.samestat(os.stat(folder), os.fstat(descriptor))
    except OSError:
        return False
