"""Files through a folder that this machine and the hosts of a cluster have at the same path.

No lock has to hold between machines, because each part of the folder has one machine that writes::

    FOLDER/files/SHA256          this machine writes it; once for all hosts
    FOLDER/from-ID/files/SHA256  one host writes it, for one search, which removes it

A host copies what it needs into its own store. The program is the far side:
``python -m paretune.targets.transports.shared_folder take|put STORE FOLDER FROM`` reads digests
from standard input, and copies these files from the folder into the store, or from the store into
the folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import threading
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from paretune.core.errors import ParetuneError, TransientError, UsageError
from paretune.core.stamps import Stamped, file_digest
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
        self._from = f"from-{uuid.uuid4().hex}"
        self._sent: set[str] = set()

    def send(self, files: Sequence[Stamped]) -> None:
        """Send files; those that are in the folder are not copied again, unless one is damaged.

        Raises:
            TransientError: The folder cannot be written, or the host cannot read it.
        """
        self._lay(files)
        digests = [file.sha256 for file in files]
        try:
            self._run(TAKE, digests)
        except TransientError:
            if not self._lay(files, verify=True):
                raise
            self._run(TAKE, digests)
        self.files += len(files)

    def _lay(self, files: Sequence[Stamped], *, verify: bool = False) -> int:
        """Copy files into the folder; return how many were not there.

        Args:
            files: They.
            verify: Read those that are there, and copy those again that have another content.
        """
        if not self._folder.is_dir():  # it is not made: perhaps it is not mounted
            raise TransientError(f"there is no folder {self._folder} on this machine")
        copied = 0
        try:
            with _COPYING:
                shared = FileStore(self._folder, _FILES)
                if verify:
                    shared.discard(f.sha256 for f in files if _is_damaged(shared, f.sha256))
                missing = set(shared.missing(file.sha256 for file in files))
                for file in files:
                    if file.sha256 in missing:
                        missing.remove(file.sha256)
                        shared.copy(file.path, file.sha256)
                        self._sent.add(file.sha256)
                        self.bytes += file.stamp.size
                        copied += 1
        except OSError as error:
            raise TransientError(f"{self._folder}: {error.strerror}") from error
        return copied

    def _fetch(self, wanted: Mapping[str, int], store: FileStore) -> None:
        self._run(PUT, list(wanted))
        for digest, size in wanted.items():
            path = self._folder / self._from / _FILES / digest
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
            finally:  # a damaged one, too: else the host would not write it again
                with contextlib.suppress(OSError):
                    path.unlink()
        self.fetched += len(wanted)

    def close(self) -> None:
        """Remove the files that were sent; a host that still needs one asks for it again."""
        super().close()
        shutil.rmtree(self._folder / self._from, ignore_errors=True)
        if self._sent:
            FileStore(self._folder, _FILES).discard(self._sent)
            self._sent = set()

    def _run(self, way: str, digests: Sequence[str]) -> None:
        """Have the host copy files.

        Raises:
            TransientError: It could not.
        """
        module = f"{__package__}.shared_folder"
        command = [*self.python, module, way, self.store, str(self._folder), self._from]
        given = "".join(f"{digest}\n" for digest in digests).encode()
        try:
            self._host.run(*command, given=given, seconds=_SECONDS)
        except UsageError as error:
            raise TransientError(
                f"files do not travel through {self._folder}: {error.message}",
                hint="Do all hosts have this folder at the same path? Else leave `shared:` out.",
            ) from error


def _is_damaged(store: FileStore, digest: str) -> bool:
    """Return whether a file is there with another content than its name says."""
    try:
        return file_digest(store.path(digest)) != digest
    except FileNotFoundError:
        return False


def main(way: str, store: str, folder: str, own: str) -> int:
    """Copy the files that standard input names; returns the exit status."""
    digests = sys.stdin.read().split()
    try:
        if not os.path.isdir(folder):
            raise UsageError(f"there is no folder {folder} on this host")
        here = FileStore(Path(store))
        if way == TAKE:
            for digest in here.missing(digests):
                here.copy(Path(folder, _FILES, digest), digest)
        else:
            shared = FileStore(Path(folder, own), _FILES)
            for file in here.named(digests):
                if shared.missing([file.sha256]):
                    shared.copy(file.path, file.sha256)
    except ParetuneError as error:
        print(error.message, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or folder}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
