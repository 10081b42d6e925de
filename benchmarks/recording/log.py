"""What has been recorded so far: a file that is only appended to, one JSON object a line.

A line is on disk when `Log.add` returns. A line that was cut off by a kill is passed over; the job
that it was of is done again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Log:
    """The log; several processes may append to it.

    Args:
        path: The file; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self) -> list[dict[str, Any]]:
        """Return what is recorded, in the order of recording."""
        if not self._path.is_file():
            return []
        found = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                told = json.loads(line)
            except ValueError:
                continue
            if isinstance(told, dict):
                found.append(told)
        return found

    def by_key(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the entries of one kind by their keys; of equal ones the last."""
        return {one["key"]: one for one in self.entries() if one["kind"] == kind}

    def add(self, kind: str, key: str, **told: Any) -> None:
        """Append an entry; it is on disk when this returns."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"kind": kind, "key": key, **told}).encode()
        with self._path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            whole = file.read(1) in (b"", b"\n")  # else a kill has cut off the line before
            file.write((b"" if whole else b"\n") + line + b"\n")
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Hold a lock file, which ends with this process at the latest; False: another one has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
