"""Files through a folder that this machine and the hosts of a cluster have at the same path.

No lock has to hold between machines, because each part of the folder has one machine that writes::

    FOLDER/search-ID/                     one search (`paretune.targets.transports.shared_place`)
    FOLDER/search-ID/files/SHA256         this machine writes it; once for all hosts
    FOLDER/search-ID/from-ID/files/SHA256 one host writes it

A host copies what it needs into its own store. The program is the far side:
``python -m paretune.targets.transports.shared_folder check|take|put STORE FOLDER FROM`` reads
digests from standard input, and copies these files from the search's folder into the store, or from
the store into the folder; or, to check the folder, from there into the host's part of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from paretune.core.errors import ParetuneError, TransientError, UsageError
from paretune.core.job import Job
from paretune.core.stamps import Stamped, file_digest
from paretune.targets.transports.files import FileStore
from paretune.targets.transports.host import CommandError, Host
from paretune.targets.transports.host_files import HostTransport
from paretune.targets.transports.shared_place import SharedPlace

CHECK, TAKE, PUT = "check", "take", "put"
_SECONDS = 3600.0
"""How long a host may copy the files of one job."""
_FILES = "files"
_COPYING = threading.Lock()
"""Hosts that need the same file at the same time: it is copied into the folder once."""


class SharedFolder(HostTransport):
    """Brings files into the store of a host, and back from there, through a folder that both have.

    Args:
        host: The host.
        place: The search's part of the folder, which is open.
    """

    def __init__(self, host: Host, place: SharedPlace) -> None:
        super().__init__(host)
        self._place = place
        self._from = f"from-{uuid.uuid4().hex}"

    def check(self) -> None:
        """Require that the host reads and writes the same folder as this machine.

        Raises:
            UsageError: It does not.
        """
        if not self._place.folder.is_dir():  # it is not made: perhaps it is not mounted
            raise self._place.wrong("this machine", "there is no such folder")
        content = os.urandom(32)
        digest = hashlib.sha256(content).hexdigest()
        here, there = self._place.path, self._place.path / self._from
        try:
            with _COPYING:
                FileStore(here, _FILES).take(digest, iter([content]))
            self._on_host(CHECK, [digest])
            back = (there / _FILES / digest).read_bytes()
        except UsageError as error:
            raise self._place.wrong(self._host.host, error.message) from error
        except OSError as error:
            raise self._place.wrong(
                self._host.host, f"{error.filename} on this machine: {error.strerror}"
            ) from error
        if back != content:
            raise self._place.wrong(self._host.host, "what it wrote is not what it read")
        for part in (here, there):
            with contextlib.suppress(OSError):
                (part / _FILES / digest).unlink()

    def bring(self, job: Job, digests: Sequence[str]) -> None:
        """Send the files of a job that the host does not have.

        Raises:
            TransientError: The folder cannot be written, or the host cannot read it.
        """
        with self._checked_after():
            super().bring(job, digests)

    def fetch(self, wanted: Mapping[str, int], store: FileStore) -> None:
        """Bring files from the host into a store of this machine; see `HostTransport.fetch`.

        Raises:
            TransientError: The host cannot write the folder, or does not have them.
            UsageError: It wrote something else.
        """
        with self._checked_after():
            super().fetch(wanted, store)

    @contextlib.contextmanager
    def _checked_after(self) -> Iterator[None]:
        """Where a transfer fails, find out whether the folder is gone: then no job is the cause."""
        try:
            yield
        except TransientError:
            try:
                self.check()
            except UsageError as error:
                self.broken(error.message)
            raise

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
        if not self._place.folder.is_dir():  # it is not made: perhaps it is not mounted
            raise TransientError(f"there is no folder {self._place.folder} on this machine")
        copied = 0
        try:
            with _COPYING:
                shared = FileStore(self._place.path, _FILES)
                if verify:
                    shared.discard(f.sha256 for f in files if _is_damaged(shared, f.sha256))
                missing = set(shared.missing(file.sha256 for file in files))
                for file in files:
                    if file.sha256 in missing:
                        missing.remove(file.sha256)
                        shared.copy(file.path, file.sha256)
                        self.bytes += file.stamp.size
                        copied += 1
        except OSError as error:
            raise TransientError(f"{self._place.folder}: {error.strerror}") from error
        return copied

    def _fetch(self, wanted: Mapping[str, int], store: FileStore) -> None:
        self._run(PUT, list(wanted))
        for digest, size in wanted.items():
            path = self._place.path / self._from / _FILES / digest
            try:
                found = path.lstat()
                if not stat.S_ISREG(found.st_mode) or found.st_size != size:
                    raise UsageError(
                        f"{self._host.host}: {digest[:12]} in {self._place.folder} is not the file "
                        f"of {size} bytes that was announced"
                    )
                store.copy(path, digest, size)
            except OSError as error:
                raise TransientError(f"{path}: {error.strerror}") from error
            finally:  # a damaged one, too: else the host would not write it again
                with contextlib.suppress(OSError):
                    path.unlink()
        self.fetched += len(wanted)

    def _run(self, way: str, digests: Sequence[str]) -> None:
        """Have the host copy files.

        Raises:
            TransientError: It could not.
        """
        try:
            self._on_host(way, digests)
        except UsageError as error:
            wrong = self._place.wrong(self._host.host, error.message)
            raise TransientError(wrong.message, hint=wrong.hint) from error

    def _on_host(self, way: str, digests: Sequence[str]) -> None:
        """Run this module on the host.

        Raises:
            UsageError: It failed there, or the host cannot be reached.
        """
        module = f"{__package__}.shared_folder"
        command = [*self.python, module, way, self.store, str(self._place.path), self._from]
        given = "".join(f"{digest}\n" for digest in digests).encode()
        try:
            self._host.run(*command, given=given, seconds=_SECONDS)
        except CommandError as error:
            raise UsageError(error.reason) from error


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
            shared = os.path.dirname(folder)
            if os.path.isdir(shared):
                raise UsageError(f"{shared} on this host is another folder, or the search ended")
            raise UsageError(f"there is no folder {shared} on this host")
        given, back = Path(folder, _FILES), FileStore(Path(folder, own), _FILES)
        here = back if way == CHECK else FileStore(Path(store))
        if way == PUT:
            for file in here.named(digests):
                if back.missing([file.sha256]):
                    back.copy(file.path, file.sha256)
        else:
            for digest in here.missing(digests):
                here.copy(given / digest, digest)
    except ParetuneError as error:
        print(error.message, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or folder} on this host: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
