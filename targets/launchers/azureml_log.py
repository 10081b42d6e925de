"""The log of a job in Azure, as it grows: into a file here, without the worker's messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from paretune.core import protocol
from paretune.targets.launchers import answers

_TAIL_LINES = 12
_MOST_TAIL = 2000


class JobLog:
    """The log of one job.

    Args:
        file: Takes it; one of an earlier process that waited for the same job is replaced.
        secrets: Texts that are never written.
        on_progress: Receives what the worker reports.
    """

    def __init__(
        self,
        file: Path,
        secrets: Iterable[str] = (),
        on_progress: Callable[[Any], None] | None = None,
    ) -> None:
        self.file = file
        self.seen = 0
        self.began = False
        """Whether the worker has said that it began."""
        self.unread: str | None = None
        """Why it cannot be read; None: it was read last time."""
        self._secrets = [secret.encode() for secret in secrets if secret]
        self._on_progress = on_progress
        self._rest = b""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")

    def feed(self, content: bytes) -> None:
        """Take what follows."""
        self.unread = None
        self.seen += len(content)
        *lines, self._rest = (self._rest + content).split(b"\n")
        self._take(lines)

    def end(self) -> None:
        """Take the last line, if it has no end."""
        if self._rest:
            self._take([self._rest])
            self._rest = b""

    def tail(self) -> str:
        """Return its last lines; none if `paretune cache clean` has removed it."""
        try:
            text = self.file.read_bytes()[-_MOST_TAIL:].decode(errors="replace")
        except FileNotFoundError:
            text = ""
        lines = text.splitlines()[-_TAIL_LINES:]
        return "\n".join(lines if self.unread is None else [*lines, f"({self.unread})"])

    def _take(self, lines: Iterable[bytes]) -> None:
        with open(self.file, "ab") as out:
            for line in lines:
                for secret in self._secrets:
                    line = line.replace(secret, b"***")
                if not self._is_progress(line):
                    out.write(line + b"\n")

    def _is_progress(self, line: bytes) -> bool:
        """Pass a line on, if it is progress of the worker, or says that the worker began."""
        if not line.startswith(b"{") or not answers.is_message(line):
            return False
        try:
            said = answers.read(line)
        except answers.AnswerError:
            return False
        self.began = True
        if isinstance(said, protocol.Described):
            return True
        if not isinstance(said, protocol.Progressed):
            return False
        if self._on_progress is not None:
            self._on_progress(said.progress)
        return True
