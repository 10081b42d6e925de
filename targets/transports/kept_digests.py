"""Digests of an artifact's large files, kept so that another process need not read them again.

``STORE/digests/DIGEST.json`` belongs to one artifact. A file of it is known by its size, its time
of change and its inode, as the store knows its own files; the package that a job is given consists
of hard links to them. Where a record is missing or cannot be read, the files are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from paretune.core.jsontools import read_json, write_json
from paretune.core.stamps import Stamp

Key = tuple[int, int, tuple[int, int]]
"""Of a file: its size, its time of change in ns, and its inode."""
_FROM_BYTES = 1 << 20
"""Smaller files are read at once."""
_ARTIFACT = re.compile("sha256:[0-9a-f]{64}")
_SHA256 = re.compile("[0-9a-f]{64}")


def key_of(stamp: Stamp) -> Key:
    """Return what a file is known by; a hard link of it has the same."""
    return (stamp.size, stamp.mtime_ns, stamp.inode)


class KeptDigests:
    """The records of a store.

    Args:
        store: The store's folder.
    """

    def __init__(self, store: Path) -> None:
        self._folder = store / "digests"

    def of(self, artifact: str) -> dict[Key, str]:
        """Return the digests of an artifact's large files."""
        if not _ARTIFACT.fullmatch(artifact):
            return {}
        try:
            kept = read_json(self._file(artifact))
            return {
                (int(size), int(mtime), (int(device), int(inode))): str(sha256)
                for size, mtime, device, inode, sha256 in kept
                if _SHA256.fullmatch(sha256)
            }
        except (OSError, ValueError, TypeError):
            return {}

    def keep(self, artifact: str, found: Mapping[Key, str]) -> None:
        """Keep the digests of an artifact's large files; small ones are left out."""
        large = {key: sha256 for key, sha256 in found.items() if key[0] >= _FROM_BYTES}
        if not _ARTIFACT.fullmatch(artifact) or large.items() <= self.of(artifact).items():
            return
        lines = [[*key[:2], *key[2], sha256] for key, sha256 in sorted(large.items())]
        with suppress(OSError):  # a full disk, or a store that is not writable
            self._folder.mkdir(exist_ok=True)
            write_json(self._file(artifact), lines, durable=False)

    def forget(self, artifact: str) -> None:
        """Have the files of an artifact read again."""
        if _ARTIFACT.fullmatch(artifact):
            with suppress(OSError):
                self._file(artifact).unlink(missing_ok=True)

    def _file(self, artifact: str) -> Path:
        return self._folder / f"{artifact.replace(':', '-')}.json"
