"""Model folders that are put together in the store from files that lie elsewhere.

Large files are hard links where that is possible. A folder's name is a digest of what its files are
now, so that a changed file gives another folder; folders that no process uses may go at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from paretune.core.errors import UsageError
from paretune.core.folders import link_or_copy
from paretune.core.jsontools import Json, canonical
from paretune.core.stamps import stamp
from paretune.core.used_folders import hold, remove_unused

MLFLOW, NETWORKS = "mlflow", "networks"
_LINK_FROM_BYTES = 1 << 20


def made_folder(
    store: Path,
    kind: str,
    what: Json,
    wanted: Mapping[str, Path],
    *,
    beside: Iterable[tuple[str, Path]] = (),
    finish: Callable[[Path], None] = lambda folder: None,
    written: frozenset[str] = frozenset(),
) -> Path:
    """Return a folder with copies of files; made if it is not there yet.

    Args:
        store: The store.
        kind: `MLFLOW` or `NETWORKS`: the folder of the store that has such folders.
        what: Further things that the folder depends on; the first is the path of its source.
        wanted: Name in the folder to a file.
        beside: Likewise, of files that may change without making another folder.
        finish: Writes into a folder that is being made.
        written: The names in the folder that `finish` writes or rewrites.

    Raises:
        UsageError: The files change meanwhile.
        OSError: A file cannot be read or written.
    """
    key = _key(what, wanted)
    place = store / kind / key
    while not (_is_there(place, wanted, written) and hold(place)):
        place.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=place.parent))
        hold(aside)
        try:
            for name, source in {**wanted, **dict(beside)}.items():
                target = aside / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if source.stat().st_size >= _LINK_FROM_BYTES:
                    link_or_copy(source, target)
                else:
                    shutil.copyfile(source, target)
            finish(aside)
            if _key(what, wanted) != key:
                raise UsageError(
                    f"model {str(what[0])!r} is being written", hint="Begin again when it is done."
                )
            if place.is_dir() and not _is_there(place, wanted, written):
                shutil.rmtree(place)
            try:
                os.rename(aside, place)
            except OSError:
                if not _is_there(place, wanted, written):
                    raise  # else another process made the same meanwhile
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return place


def remove_unused_folders(store: Path, older_than_s: float = 0.0) -> None:
    """Remove the folders that were made in a store and that no process uses.

    Args:
        store: The store.
        older_than_s: Only those that were not used for so many seconds.
    """
    for kind in (MLFLOW, NETWORKS):
        remove_unused(store / kind, older_than_s)


def _key(what: Json, wanted: Mapping[str, Path]) -> str:
    """Return a name for what the files are now.

    The inode's own time is left out: a hard link changes it.
    """
    looks = []
    for name, path in sorted(wanted.items()):
        look = stamp(path)
        looks.append([name, look.size, look.mtime_ns, look.inode[1]])
    return hashlib.sha256(canonical([what, looks]).encode()).hexdigest()[:20]


def _is_there(place: Path, wanted: Mapping[str, Path], written: frozenset[str]) -> bool:
    """Return whether a folder is complete: its files are there, with their sizes."""
    with contextlib.suppress(OSError):
        return all(
            (place / name).stat().st_size == source.stat().st_size
            for name, source in wanted.items()
            if name not in written
        ) and all((place / name).is_file() for name in {*wanted, *written})
    return False
