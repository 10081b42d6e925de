"""Files through a folder that this machine and the hosts of a cluster have at the same path.

The folder has each file once for all hosts, under its SHA-256 (`FileStore`). A host copies what it
needs into its own store, so that no lock has to hold between machines. The program is the far side:
``python -m paretune.targets.transports.shared_folder take|put STORE FOLDER`` reads digests from
standard input, and copies these files from the folder into the store, or from the store into it.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from paretune.core.errors import ParetuneError, TransientError, UsageError
from paretune.core.stamps import Stamped
from paretune.targets.transports.files import FileStore
from paretune.targets.transports.host import Host
from paretune.targets.transports.ssh_files import SshTransport

TAKE, PUT = "take", "put"
_SECONDS = 3600.0
"""How long a host may copy the files of one job."""
_FILES = "files"
_COPYING = threading.Lock()
"""Hosts that need the same file at the same time: it is copied into the folder once."""


class SharedFolder(SshTransport):
    """Brings files into the store of a host, and back from there, through a folder that both have.

    Args:
        host: The host.
        folder: The shared folder.
    """

    def __init__(self, host: Host, folder: Path) -> None:
        super().__init__(host)
        self._folder = folder
        self._sent: set[str] = set()

    def send(self, files: Sequence[Stamped]) -> None:
        """Send files; those that are in the folder are not copied again.

        Raises:
            TransientError: The folder cannot be written, or the host cannot read it.
        """
        try:
            with _COPYING:
                shared = FileStore(self._folder, _FILES)
                missing = set(shared.missing(file.sha256 for file in files))
                for file in files:
                    if file.sha256 in missing:
                        shared.copy(file.path, file.sha256)
                        self._sent.add(file.sha256)
                        self.bytes += file.stamp.size
        except OSError as error:
            raise TransientError(f"{self._folder}: {error.strerror}") from error
        self._run(TAKE, [file.sha256 for file in files])
        self.files += len(files)

    def _fetch(self, wanted: Mapping[str, int], store: FileStore) -> None:
        self._run(PUT, list(wanted))
        shared = FileStore(self._folder, _FILES)
        for digest, size in wanted.items():
            path = shared.path(digest)
            try:
                found = path.lstat()
                if not stat.S_ISREG(found.st_mode) or found.st_size != size:
                    raise UsageError(
                        f"{self._host.host}: {digest[:12]} in {self._folder} is not the file of "
                        f"{size} bytes that was announced"
                    )
                store.copy(path, digest, size)
            except OSError as error:
                raise TransientError(f"{path}: {error.strerror}") from error
            if digest not in self._sent:  # nobody else needs it here
                path.unlink(missing_ok=True)
        self.fetched += len(wanted)

    def close(self) -> None:
        """Remove the files that were sent; a host that still needs one asks for it again."""
        super().close()
        if self._sent:
            FileStore(self._folder, _FILES).discard(self._sent)
            self._sent = set()

    def _run(self, way: str, digests: Sequence[str]) -> None:
        """Have the host copy files.

        Raises:
            TransientError: It could not.
        """
        module = f"{__package__}.shared_folder"
        command = [*self.python, module, way, self.store, str(self._folder)]
        given = "".join(f"{digest}\n" for digest in digests).encode()
        try:
            self._host.run(*command, given=given, seconds=_SECONDS)
        except UsageError as error:
            raise TransientError(
                f"files do not travel through {self._folder}: {error.message}",
                hint="Do all hosts have this folder at the same path? Else leave `shared:` out.",
            ) from error


def main(way: str, store: str, folder: str) -> int:
    """Copy the files that standard input names; returns the exit status."""
    digests = sys.stdin.read().split()
    try:
        if not os.path.isdir(folder):
            raise UsageError(f"there is no folder {folder} on this host")
        own, shared = FileStore(Path(store)), FileStore(Path(folder), _FILES)
        source, target = (shared, own) if way == TAKE else (own, shared)
        for file in source.named(digests):
            if target.missing([file.sha256]):
                target.copy(file.path, file.sha256)
    except ParetuneError as error:
        print(error.message, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or folder}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
