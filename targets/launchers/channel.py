"""What a launcher gives a conversation: a channel to its agent, and a transport of files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol, runtime_checkable

from paretune.core.job import Job
from paretune.targets.transports.files import FileStore


class Channel(Protocol):
    """Two streams of bytes to an agent, and what it wrote to its standard error."""

    reader: BinaryIO
    writer: BinaryIO

    def last_words(self) -> str:
        """Return the end of the agent's standard error."""

    def kill(self) -> None:
        """End the channel at once: what waits for its streams goes on; may be called again."""

    def close(self) -> None:
        """Close the streams and wait until the agent has ended; may be called again."""


class Transport(Protocol):
    """Brings models and files to a far side that shares no folder with this one."""

    def bring(self, job: Job, digests: Sequence[str]) -> None:
        """Bring what a job names by these digests; returns when all of it is there.

        Raises:
            ParetuneError: It cannot be brought.
        """


@runtime_checkable
class Fetches(Protocol):
    """A transport that brings files back, too."""

    def fetch(self, wanted: Mapping[str, int], store: FileStore) -> None:
        """Bring files of a build into a store of this machine.

        Args:
            wanted: By SHA-256, the size of each in bytes; nothing else is taken.
            store: Takes them.

        Raises:
            TransientError: They did not arrive.
            UsageError: The far side sent something else.
        """

    def stop_fetching(self) -> None:
        """End the fetch that runs, if one does."""


@runtime_checkable
class Waits(Protocol):
    """A transport whose service can be away for a while, and is waited for."""

    def wait_for(
        self,
        run: Callable[[], None],
        stopped: threading.Event,
        within: Callable[[], AbstractContextManager[object]],
    ) -> None:
        """Call something that fetches; again while the service is away.

        Args:
            run: What is called; between two calls it holds nothing.
            stopped: Whether what it fetches is not wanted any more.
            within: Gives the context in which each call runs; to wait for it is not an outage.

        Raises:
            TargetLostError: The service stays away.
            TransientError: `stopped` was set while it was away.
        """
