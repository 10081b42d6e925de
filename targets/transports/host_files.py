"""Files over the connection to a host (ssh, Ray): into its file store, and back from there."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import IO, cast

from paretune.core.errors import TransientError
from paretune.core.job import Job
from paretune.core.jsontools import parse_json
from paretune.core.stamps import Stamped
from paretune.targets.transports.bounded import LastWords, Stalled, kill_session
from paretune.targets.transports.files import INCOMING, FileStore
from paretune.targets.transports.files import send as write_files
from paretune.targets.transports.greeting import skip_greeting
from paretune.targets.transports.host import Host
from paretune.targets.transports.packing import Packed, Rate, Unpacked, pays
from paretune.targets.transports.rsync import FROM_BYTES, Rsync
from paretune.targets.transports.ssh import SshHost
from paretune.targets.transports.tasks import files_of

_STALLED_S = 900.0
"""How long a far side may take nothing of a file that is sent, or check what has arrived."""
_LONGEST_LINE = 1 << 18
"""Bytes of what a far side says of files that it has the beginning of."""
_ENDS_WITHIN_S = 5.0
"""How long a far side may take to say why it has sent too little."""


class HostTransport:
    """Brings files into the file store of a host, and back from there.

    Args:
        host: Where to.

    Attributes:
        python: What runs one of our modules there; the module's name follows.
        receive: The command that receives them there (`paretune.targets.transports.receive`).
        give: The command that sends them back (`paretune.targets.transports.give`).
        store: The store's folder there; empty: not known, and nothing is sent by rsync.
        by_rsync: How many files were sent by rsync.
        files: How many files were sent.
        bytes: How many bytes they have.
        fetched: How many files were fetched.
        rate: How fast the connection is.
        stays_ready: Whether a process there waits for the next fetch, which then takes some
            milliseconds to begin in place of the start of an interpreter.
        moving: Gives the context in which files of jobs are sent.
        broken: Takes why no files can travel any more, which no job is the cause of.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self.python: Sequence[str] = ()
        self.receive: Sequence[str] = ()
        self.give: Sequence[str] = ()
        self.store = ""
        self.by_rsync = 0
        self._rsync = Rsync(host) if isinstance(host, SshHost) else None
        self._lock = threading.Lock()
        self._sending: subprocess.Popen[bytes] | None = None
        self._fetching = threading.Lock()
        self._fetches: subprocess.Popen[bytes] | None = None
        self._waiting: subprocess.Popen[bytes] | None = None
        self.stays_ready = False
        self._closed = False
        self.files = 0
        self.bytes = 0
        self.fetched = 0
        self.rate = Rate()
        self.moving: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext
        self.broken: Callable[[str], None] = lambda why: None

    def check(self) -> None:
        """Require that files can travel; a transport that needs nothing there requires nothing.

        Raises:
            UsageError: They cannot.
        """

    def bring(self, job: Job, digests: Sequence[str]) -> None:
        """Send the files of a job that the far side does not have.

        Raises:
            TransientError: The connection broke off, or the far side could not take them.
        """
        known = files_of(job.task)
        with self.moving(), self._lock:  # two jobs that need the same file: one sends it
            self.send([known[digest] for digest in digests if digest in known])

    def send(self, files: Sequence[Stamped]) -> None:
        """Send files, whether the far side has them or not.

        Raises:
            TransientError: The connection broke off, or the far side could not take them.
        """
        size = sum(file.stamp.size for file in files)
        if self._rsync is not None and self.store and size >= FROM_BYTES and self._rsync.there():
            compress = pays([file.path for file in files], size, self.rate.bytes_per_s)
            start = time.monotonic()
            self._rsync.send(files, self.store, compress=compress, started=self._started)
            if not compress:
                self.rate.note(size, time.monotonic() - start)
            self._received([], INCOMING)
            self.by_rsync += len(files)
        else:
            size = self._received(files)
        self.files += len(files)
        self.bytes += size

    def _started(self, process: subprocess.Popen[bytes]) -> None:
        self._sending = process
        if self._closed:
            kill_session(process)

    def _received(self, files: Sequence[Stamped], *words: str) -> int:
        """Have the far side receive files; return the bytes that were sent."""
        process = subprocess.Popen(
            self._host.command(*self.receive, *words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._started(process)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        said = LastWords(process.stderr)
        sent, broken = 0, None
        with Stalled(_STALLED_S, lambda: kill_session(process)) as stalled, process.stdout:
            try:
                with process.stdin:
                    skip_greeting(process.stdout)
                    begun = _begun(process.stdout.readline(_LONGEST_LINE))
                    sent = self._write(files, stalled.watched(process.stdin), begun)
            except OSError as error:  # what the far side said is a better reason
                broken = error
            except BaseException:  # a file cannot be read: the far side waits for the rest of it
                kill_session(process)
                process.wait()
                raise
            status = process.wait()
        if status != 0 or broken is not None:
            default = str(broken or f"exit status {status}")
            if stalled.happened:
                default = f"it took nothing for {_STALLED_S:.0f} s"
            last = (said.text().strip().splitlines() or [default])[-1]
            raise TransientError(f"files could not be sent to {self._host.host}: {last}")
        return sent

    def _write(self, files: Sequence[Stamped], stream: IO[bytes], begun: Mapping[str, int]) -> int:
        """Write files to the far side, of which it may have the beginning; return their bytes."""
        sizes = {file.sha256: file.stamp.size for file in files}
        begun = {name: size for name, size in begun.items() if 0 < size < sizes.get(name, 0)}
        left = sum(sizes.values()) - sum(begun.values())
        compress = pays([file.path for file in files], left, self.rate.bytes_per_s)
        start = time.monotonic()
        with Packed(stream, compress=compress) as packed:
            sent = write_files(files, packed, begun)
        self.rate.note(packed.bytes, time.monotonic() - start)
        return sent

    def fetch(self, wanted: Mapping[str, int], store: FileStore) -> None:
        """Bring files from the far side into a store of this machine.

        Args:
            wanted: By SHA-256, the size of each in bytes.
            store: Takes them; those that it has are not sent.

        Raises:
            TransientError: The connection broke off, or the far side does not have them. What has
                arrived whole stays.
            UsageError: The far side sent something else.
        """
        with self._fetching:
            missing = {digest: wanted[digest] for digest in store.missing(wanted)}
            if missing:
                self._fetch(missing, store)
                self._get_ready()

    def _fetch(self, wanted: Mapping[str, int], store: FileStore) -> None:
        begun = store.begun()
        lines = []
        for name, size in wanted.items():
            known = begun.get(name, 0)
            lines.append(f"{name} {known if known < size else 0}\n")
        process = self._giver()
        self._fetches = process
        if self._closed:
            kill_session(process)
        assert process.stdout is not None
        assert process.stderr is not None
        said, broken = LastWords(process.stderr), None
        assert process.stdin is not None
        with Stalled(_STALLED_S, lambda: kill_session(process)) as stalled, process.stdout:
            with contextlib.suppress(OSError), process.stdin:  # its status says what failed
                process.stdin.write("".join(lines).encode())
            unpacked = Unpacked(stalled.watched(process.stdout))
            try:
                skip_greeting(process.stdout)
                store.receive(cast(IO[bytes], unpacked), wanted)
            except TransientError as error:  # what the far side said is a better reason
                broken = error
                process.stdout.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_ENDS_WITHIN_S)
                kill_session(process)
            except BaseException:
                kill_session(process)
                process.wait()
                raise
            status = process.wait()
        if left := store.missing(wanted):
            default = str(broken or f"{len(left)} of {len(wanted)} files are missing")
            if stalled.happened:
                default = f"it sent nothing for {_STALLED_S:.0f} s"
            last = (said.text().strip().splitlines() or [default])[-1] if status else default
            raise TransientError(f"files could not be fetched from {self._host.host}: {last}")
        self.fetched += len(wanted)
        self.rate.note(unpacked.bytes, time.monotonic() - unpacked.begun)

    def _giver(self) -> subprocess.Popen[bytes]:
        """Return a process there that sends the files which its standard input names."""
        process, self._waiting = self._waiting, None
        if process is not None and process.poll() is None:
            return process
        _end(process)
        return subprocess.Popen(
            self._host.command(*self.give, f"{self.rate.bytes_per_s or 0:.0f}"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def _get_ready(self) -> None:
        """Start the process for the next fetch, if there may be one."""
        if self.stays_ready and not self._closed:
            self._waiting = self._giver()
            if self._closed:
                _end(self._waiting)

    def stop_fetching(self) -> None:
        """End the fetch that runs, if one does."""
        if self._fetches is not None:
            kill_session(self._fetches)

    def close(self) -> None:
        """End what is being sent or fetched."""
        self._closed = True
        for process in (self._sending, self._fetches):
            if process is not None:
                kill_session(process)
        _end(self._waiting)


def _end(process: subprocess.Popen[bytes] | None) -> None:
    """End a process whose output is not read any more."""
    if process is not None:
        kill_session(process)
        with process:  # closes its streams
            pass


def _begun(line: bytes) -> dict[str, int]:
    """Return what the far side says of files whose beginning it has.

    A line that says something else counts as empty. Of a file that is sent, the line decides no
    more than where the stream begins.
    """
    try:
        said = parse_json(line.decode(), replace=True)
    except ValueError:
        return {}
    if not isinstance(said, dict):
        return {}
    return {name: size for name, size in said.items() if type(size) is int}
