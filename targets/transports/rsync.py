"""Large files by rsync over the user's own ssh, where both sides have it.

The files arrive in ``STORE/incoming`` under their digests. What has arrived is compared with them
there before it is taken over (`paretune.targets.transports.receive`), as everything is. rsync keeps
the beginning of a file whose transfer breaks off. Files are never fetched by it: there the other
side would decide what is written here.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from paretune.core.errors import TransientError, UsageError
from paretune.core.stamps import Stamped
from paretune.targets.transports.bounded import LastWords
from paretune.targets.transports.files import INCOMING
from paretune.targets.transports.ssh import SshHost

FROM_BYTES = 16 << 20
"""Less goes through our stream, which needs one command there instead of two."""
_STALLED_S = 900
_MOST_FAILURES = 2
"""After so many, one after another, the stream is used; after the first, rsync continues a file."""


class Rsync:
    """Sends files to a host.

    Args:
        host: Where to.
    """

    def __init__(self, host: SshHost) -> None:
        self._host = host
        self._there: bool | None = None
        self._failures = 0

    def there(self) -> bool:
        """Return whether both sides have an rsync that works; the other side is asked once."""
        if self._there is None:
            # rsync takes no ssh:// and reads a colon as the end of the host's name.
            self._there = ":" not in self._host.host and shutil.which("rsync") is not None
            try:
                if self._there:  # rsync does not work where a login prints something before it
                    self._there = self._host.run("rsync", "--version").startswith(b"rsync ")
            except UsageError:
                self._there = False
        return self._there

    def send(
        self,
        files: Sequence[Stamped],
        store: str,
        *,
        compress: bool,
        started: Callable[[subprocess.Popen[bytes]], None],
    ) -> None:
        """Send files into the folder of a store for what arrives.

        Args:
            files: With their digests.
            store: The store's folder there, an absolute path.
            compress: Whether the connection is compressed.
            started: Is given the process that sends.

        Raises:
            TransientError: The connection broke off, or the far side could not take them.
        """
        with tempfile.TemporaryDirectory(prefix="paretune-rsync-") as place:
            for file in files:
                os.symlink(file.path.resolve(), Path(place, file.sha256))
            process = subprocess.Popen(
                self._command(place, store, compress=compress),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            started(process)
            assert process.stderr is not None
            said = LastWords(process.stderr)
            status = process.wait()
        self._failures = 0 if status == 0 else self._failures + 1
        if self._failures >= _MOST_FAILURES:
            self._there = False
        if status != 0:
            why = _cause(said.text()) or f"exit status {status}"
            raise TransientError(f"files could not be sent to {self._host.host}: rsync: {why}")

    def _command(self, place: str, store: str, *, compress: bool) -> list[str]:
        return [
            "rsync",
            "--recursive",
            "--copy-links",
            "--partial-dir=.partial",
            "--protect-args",  # no shell there changes the path
            f"--timeout={_STALLED_S}",
            *(["--compress"] if compress else []),
            f"--rsh={shlex.join(self._host.client())}",
            "--",
            f"{place}/",
            f"{self._host.host}:{store}/{INCOMING}/",
        ]


def _cause(said: str) -> str:
    """Return why rsync failed: its own first line, because what follows from it comes later."""
    lines = said.strip().splitlines()
    own = [line.removeprefix("rsync: ") for line in lines if line.startswith("rsync: ")]
    return (own or lines[-1:] or [""])[0]
