"""Files of jobs in a datastore of Azure: each goes up once under its SHA-256, and comes back by it.

::

    paretune/files/SHA256                 what was sent from here
    paretune/jobs/NAME/jobs.jsonl         what a job runs
    paretune/jobs/NAME/out/files/SHA256   what it made

Each file is compared with its digest: here as it arrives, and there before it is used.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from paretune.azure.blobs import Blob, Datastore
from paretune.azure.failures import CredentialsError, UnreachableError
from paretune.azure.patience import patiently
from paretune.core.errors import (
    ConnectionLostError,
    ParetuneError,
    TargetLostError,
    TargetRefusesError,
    TransientError,
    UsageError,
)
from paretune.core.stamps import Stamped
from paretune.targets.transports.files import FileStore

ROOT = "paretune"
_SHA256 = re.compile("[0-9a-f]{64}")

Sent = Callable[[Stamped, int], None]
"""Is called with a file that is sent, and the bytes of it that are there."""


class AzureFiles:
    """The files of a target's jobs.

    Args:
        datastore: Where they lie.

    Attributes:
        bytes: How many were sent.
        moving: Gives the context in which files are sent.
    """

    def __init__(self, datastore: Datastore) -> None:
        self.datastore = datastore
        self.bytes = 0
        self.moving: Callable[[], AbstractContextManager[object]] = nullcontext
        self._lock = threading.Lock()
        self._sending: dict[str, threading.Lock] = {}
        self._made: dict[str, str] = {}
        self._damaged: set[str] = set()
        self._stopped = threading.Event()
        self._arrived = 0

    def send(
        self,
        files: Iterable[Stamped],
        stopped: threading.Event,
        sent: Sent = lambda file, done: None,
    ) -> dict[str, str]:
        """Send files that are not there; again while the service is away.

        Args:
            files: With their digests.
            stopped: Whether they are not wanted any more.
            sent: Is called as one goes up.

        Returns:
            The place of each in the datastore, by its digest.

        Raises:
            CredentialsError: The datastore may not be written.
            ConnectionLostError: The service stays away.
            TransientError: A file is gone, or `stopped` was set while the service was away.
        """
        return {file.sha256: self._send(file, stopped, sent) for file in files}

    def _send(self, file: Stamped, stopped: threading.Event, sent: Sent) -> str:
        # Without waiting for the end of a measurement here: most files are there.
        found = patiently(lambda: self._found(file), stopped)
        if found is not None:
            return found
        place, most = f"{ROOT}/files/{file.sha256}", 0

        def shown(done: int, total: int) -> None:
            nonlocal most
            most = max(most, done)
            sent(file, done)

        def upload() -> int:
            again = file.sha256 in self._damaged
            return self.datastore.upload(file.path, place, shown, sha256=file.sha256, again=again)

        count = patiently(upload, stopped, lambda: self._alone(file.sha256), lambda: most)
        self._damaged.discard(file.sha256)
        self.bytes += count
        return place

    def _found(self, file: Stamped) -> str | None:
        """Return where a file is in the datastore; None: it has to be sent."""
        made = self._made.get(file.sha256)
        if made is not None and self.datastore.find(made) is not None:
            return made
        place = f"{ROOT}/files/{file.sha256}"
        found = None if file.sha256 in self._damaged else self.datastore.find(place)
        return None if found is None or found.size != file.stamp.size else place

    @contextmanager
    def _alone(self, digest: str) -> Iterator[None]:
        """Move a file: of two jobs that need it one does, while nothing is measured here."""
        with self._lock:
            one = self._sending.setdefault(digest, threading.Lock())
        with one, self.moving():
            yield

    def made_by(self, job: str, digests: Iterable[str]) -> None:
        """Note that files with these digests lie where a job put what it made."""
        for digest in digests:
            if _SHA256.fullmatch(digest):
                self._made[digest] = f"{ROOT}/jobs/{job}/out/files/{digest}"

    def damaged(self, digest: str) -> None:
        """Have a file sent again before the next job that reads it: a job found it damaged."""
        self._made.pop(digest, None)
        self._damaged.add(digest)

    def fetch(self, wanted: Mapping[str, int], store: FileStore) -> None:
        """Bring files that jobs have made into a store of this machine.

        Args:
            wanted: By SHA-256, the size of each in bytes.
            store: Takes them; those that it has are not fetched.

        Raises:
            UnreachableError: The service is away; what has arrived stays.
            TransientError: A file is not there, or is another one.
            UsageError: A file has another size than was announced.
            TargetRefusesError: It does not accept the credentials any more.
        """
        self._stopped.clear()
        try:
            self._fetch(wanted, store)
        except CredentialsError as error:
            raise TargetRefusesError(error.message, hint=error.hint) from error

    def wait_for(
        self,
        run: Callable[[], None],
        stopped: threading.Event,
        within: Callable[[], AbstractContextManager[object]],
    ) -> None:
        """Call something that fetches; again while the service is away (`channel.Waits`).

        Args:
            run: What is called.
            stopped: Whether what it fetches is not wanted any more.
            within: Gives the context in which each call runs; to wait for it is not an outage.

        Raises:
            TargetLostError: The service stays away.
            TransientError: `stopped` was set while it was away.
        """
        try:
            patiently(run, stopped, within, lambda: self._arrived)
        except ConnectionLostError as error:
            raise TargetLostError(error.message, hint=error.hint) from error

    def _fetch(self, wanted: Mapping[str, int], store: FileStore) -> None:
        begun = store.begun()
        for digest in store.missing(wanted):
            place = self._made.get(digest)
            found = None if place is None else self.datastore.find(place)
            if found is None:
                raise TransientError(f"the file {digest[:12]} is not in the datastore")
            if found.size != wanted[digest]:
                raise UsageError(
                    f"the file {digest[:12]} has {found.size} bytes, announced were "
                    f"{wanted[digest]}"
                )
            known = begun.get(digest, 0)
            offset = known if known < found.size else 0
            try:
                store.take(digest, self._pieces(found, offset), offset)
            except TransientError as error:
                if isinstance(error.__cause__, CredentialsError | UnreachableError):
                    raise error.__cause__ from error
                raise

    def stop_fetching(self) -> None:
        """End the fetch that runs, if one does."""
        self._stopped.set()

    def _pieces(self, blob: Blob, offset: int) -> Iterator[bytes]:
        try:
            for piece in self.datastore.pieces(blob, offset):
                if self._stopped.is_set():
                    raise TransientError("stopped")
                self._arrived += len(piece)
                yield piece
        except ParetuneError as error:  # the beginning that has arrived is kept
            raise TransientError(str(error)) from error
