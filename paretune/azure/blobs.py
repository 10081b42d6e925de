"""Files in a datastore of a workspace: they go up and come down in pieces, and are continued.

A large file goes up as blocks. Blocks that were sent before an interruption stay in Azure for a
week, and are not sent again. The blob appears when its last block is there, whole.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paretune.azure.client import AzureClient
from paretune.azure.failures import SignatureError, UnreachableError, explained
from paretune.core.errors import TransientError, UsageError

BLOCK_BYTES = 8 << 20
"""A larger file goes up in blocks of this size; at most `_MOST_BLOCKS`, else in larger ones."""
_MOST_BLOCKS = 50_000
_RETRIES, _FIRST_WAIT_S = 4, 2
_FRESH_S = 30.0
"""A datastore's secret that is younger was not renewed since."""
_RENEWED_AFTER_S = 1800.0
"""A datastore's secret may be a token that is valid for an hour."""

Sent = Callable[[int, int], None]
"""Is called with the bytes that are there, and those of the whole file."""


class TooLargeError(UsageError):
    """A file is larger than who reads it allows."""


@dataclass(frozen=True)
class Blob:
    """A file in a datastore.

    Attributes:
        name: Its path there.
        size: In bytes.
        etag: Changes whenever the file does.
    """

    name: str
    size: int
    etag: str


class Datastore:
    """The files of a datastore.

    Args:
        client: Of its workspace.
        name: The datastore's name; None: the workspace's default one.
    """

    def __init__(self, client: AzureClient, name: str | None = None) -> None:
        self._client, self._name = client, name
        self._lock = threading.Lock()
        self._container: Any = None
        self._opened = 0.0

    @property
    def name(self) -> str:
        """Its name.

        Raises:
            UsageError: There is none of that name, or it is not blob storage.
        """
        self._open()
        assert self._name is not None
        return self._name

    def uri(self, path: str) -> str:
        """Return the address of a file or folder in it, as jobs take it."""
        return self._client.workspace.uri(self.name, path)

    def find(self, name: str) -> Blob | None:
        """Return a file; None if there is none of that name.

        Raises:
            CredentialsError: It may not be read.
            TransientError: The service is not reached.
        """
        from azure.core.exceptions import ResourceNotFoundError

        with self._explained(f"{self.name}/{name} cannot be read"):
            try:
                found = self._open().get_blob_client(name).get_blob_properties()
            except ResourceNotFoundError:
                return None
        return Blob(name, found.size, str(found.etag))

    def under(self, folder: str) -> list[Blob]:
        """Return the files of a folder and those below it.

        Args:
            folder: Its path, with ``/`` at its end.
        """
        with self._explained(f"{self.name}/{folder} cannot be read"):
            return [
                Blob(found.name, found.size, str(found.etag))
                for found in self._open().list_blobs(name_starts_with=folder)
            ]

    def pieces(self, blob: Blob, offset: int = 0) -> Iterator[bytes]:
        """Yield the content of a file from an offset on.

        Raises:
            TransientError: The service is not reached, or the file is another one by now.
            CredentialsError: It may not be read.
        """
        what = f"{self.name}/{blob.name} cannot be read"
        count = offset
        while count < blob.size:
            before = count
            with self._explained(what):
                container = self._open()
                for piece in _stream(container, blob, count).chunks():
                    count += len(piece)
                    yield piece
                    if self._open() is not container:  # the secret of the old one runs out
                        break
            if count == before:
                raise TransientError(f"{what}: {blob.size - count} bytes are missing")

    def read(self, name: str, most: int) -> bytes | None:
        """Return the content of a small file; None if there is none.

        Args:
            name: Its path.
            most: Bytes that it may have.

        Raises:
            TooLargeError: It is larger.
        """
        found = self.find(name)
        if found is None:
            return None
        if found.size > most:
            raise TooLargeError(f"{self.name}/{name} has {found.size} bytes, more than {most}")
        return b"".join(self.pieces(found))

    def write(self, name: str, content: bytes) -> None:
        """Write a small file; another one of that name is replaced."""
        with self._explained(f"{self.name}/{name} cannot be written"):
            self._open().upload_blob(name, content, overwrite=True, validate_content=True)

    def check_writable(self, folder: str) -> None:
        """Write an empty file.

        Raises:
            CredentialsError: The datastore may not be written.
        """
        self.write(f"{folder}/writable", b"")

    def upload(
        self,
        path: Path,
        name: str,
        sent: Sent = lambda done, total: None,
        *,
        sha256: str | None = None,
        again: bool = False,
    ) -> int:
        """Send a file, unless one of that name and size is there.

        Args:
            path: The file.
            name: Its path there, which no other content may have.
            sent: Is called as it goes up.
            sha256: Hex digest that its content must have; None: any.
            again: Whether one that is there is replaced: it is damaged.

        Returns:
            The bytes that were sent.

        Raises:
            CredentialsError: The datastore may not be written.
            TransientError: The service is not reached, or the file is gone or has another content;
                then there is no file of that name.
        """
        try:
            with open(path, "rb") as source:
                size = path.stat().st_size
                found = self.find(name)
                if found is not None and found.size == size and not again:
                    return 0
                if size <= BLOCK_BYTES:
                    content = source.read()
                    _check(path, sha256, hashlib.sha256(content))
                    self.write(name, content)
                    sent(size, size)
                    return size
                with self._explained(f"{self.name}/{name} cannot be written"):
                    return self._send_blocks(source, size, name, sent, sha256)
        except OSError as error:
            raise TransientError(f"{path} cannot be read: {error.strerror}") from error

    def _send_blocks(
        self, source: Any, size: int, name: str, sent: Sent, sha256: str | None
    ) -> int:
        from azure.storage.blob import BlobBlock

        length = max(BLOCK_BYTES, -(-size // _MOST_BLOCKS))
        blob = self._open().get_blob_client(name)
        there = _blocks_there(blob)
        blocks, bytes_sent, whole = [], 0, hashlib.sha256()
        for number, start in enumerate(range(0, size, length)):
            wanted = min(length, size - start)
            piece = source.read(wanted)
            if len(piece) < wanted:
                raise TransientError(f"{source.name} became shorter while it was sent")
            whole.update(piece)
            id = _block_id(number, piece)
            if there.get(id) != wanted:
                blob = self._open().get_blob_client(name)  # its token may have to be renewed
                blob.stage_block(id, piece, length=wanted, validate_content=True)
                bytes_sent += wanted
            blocks.append(BlobBlock(block_id=id))
            sent(start + wanted, size)
        _check(source.name, sha256, whole)
        blob.commit_block_list(blocks)
        return bytes_sent

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Have errors of the SDK become errors of ours (`explained`).

        A key that is not accepted is requested again at the next try: it may have been renewed.
        """
        with self._lock:
            opened = self._opened
        try:
            with explained(what):
                yield
        except SignatureError as error:
            with self._lock:
                if self._opened == opened:
                    self._container = None
            if time.monotonic() - opened < _FRESH_S:
                raise
            raise UnreachableError(f"{error.message}; it is requested again") from error

    def _open(self) -> Any:
        """Return the SDK's client of the container, with a token that is still valid."""
        with self._lock:
            if self._container is None or time.monotonic() - self._opened > _RENEWED_AFTER_S:
                self._container = self._connect()
                self._opened = time.monotonic()
            return self._container

    def _connect(self) -> Any:
        from azure.storage.blob import ContainerClient

        found, access = self._described()
        if str(found.type) != "AzureBlob" and not str(found.type).endswith("AZURE_BLOB"):
            raise UsageError(
                f"the datastore {found.name!r} is of the type {found.type}, which is not read",
                hint="Name a datastore of blob storage, such as workspaceblobstore.",
            )
        self._name = found.name
        address = f"{found.protocol}://{found.account_name}.blob.{found.endpoint}"
        return ContainerClient(
            address,
            found.container_name,
            credential=access,
            retry_total=_RETRIES,
            initial_backoff=_FIRST_WAIT_S,
            increment_base=2,
        )

    def _described(self) -> tuple[Any, Any]:
        """Return what the workspace says of the datastore, and what gives access to it.

        Without the right to read the secret, or where there is none, the user's own credentials
        are used.
        """
        from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
        from azure.core.exceptions import HttpResponseError

        stores = self._client.ml.datastores
        what = f"the datastore {self._name or 'of the workspace'} cannot be used"
        with explained(what):
            try:
                found = self._asked(stores, secrets=True)
            except HttpResponseError as error:
                if error.status_code != 403:
                    raise
                found = self._asked(stores, secrets=False)
        token = getattr(found.credentials, "sas_token", None)
        key = getattr(found.credentials, "account_key", None)
        if token:
            return found, AzureSasCredential(token.lstrip("?"))
        if key:
            return found, AzureNamedKeyCredential(found.account_name, key)
        return found, self._client.credential

    def _asked(self, stores: Any, *, secrets: bool) -> Any:
        if self._name is None:
            return stores.get_default(include_secrets=secrets)
        return stores.get(self._name, include_secrets=secrets)


def _blocks_there(blob: Any) -> dict[str, int]:
    """Return the blocks of an interrupted upload, by their ids, with their sizes."""
    from azure.core.exceptions import ResourceNotFoundError

    try:
        _, waiting = blob.get_block_list("all")
    except ResourceNotFoundError:
        return {}
    return {str(block.id): block.size for block in waiting}


def _block_id(number: int, piece: bytes) -> str:
    """Return the id of a block, which no other content has; all have the same length."""
    return f"{number:06d}-{hashlib.sha256(piece).hexdigest()[:32]}"


def _check(path: Path | str, sha256: str | None, found: Any) -> None:
    """Require that what was read of a file is what its digest says.

    Raises:
        TransientError: It is not: the file was written after its digest was taken.
    """
    if sha256 is not None and found.hexdigest() != sha256:
        raise TransientError(f"{path} was written while it was sent")


def _stream(container: Any, blob: Blob, offset: int) -> Any:
    """Return the SDK's stream of the rest of a file, which must not have been replaced."""
    from azure.core import MatchConditions

    return container.download_blob(
        blob.name,
        offset=offset,
        length=blob.size - offset,
        etag=blob.etag,
        match_condition=MatchConditions.IfNotModified,
    )
