"""One numbering of candidates for all devices of a study."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from paretune.core.candidate import Candidate
from paretune.core.errors import StateError
from paretune.study.devices import read_devices
from paretune.study.folder import Study


@contextmanager
def left_out(place: Path, names: Collection[str]) -> Iterator[dict[str, Study]]:
    """Yield the studies of the devices that a search leaves out: their numbers stay in use.

    Args:
        place: The study of all, locked by this process.
        names: The devices that are searched.

    Raises:
        StateError: One of them is in use or damaged.
    """
    with ExitStack() as stack:
        found: dict[str, Study] = {}
        for device in read_devices(place):
            folder = place / device.folder
            if device.name not in names and folder.is_dir():
                found[device.name] = Study(folder)
                stack.callback(found[device.name].close)
        yield found


class Numbers:
    """Gives each candidate one number, whichever device begins it first.

    Args:
        studies: The studies of the devices, by name.

    Raises:
        StateError: Two of them give one number to different candidates, or a candidate two numbers.
    """

    def __init__(self, studies: Mapping[str, Study]) -> None:
        self._lock = threading.Lock()
        self._by_digest: dict[str, int] = {}
        known: dict[int, tuple[str, str]] = {}
        owners: dict[str, str] = {}
        for name, study in studies.items():
            for id, candidate in study.numbered():
                digest = candidate.digest
                owner, there = known.setdefault(id, (name, digest))
                number = self._by_digest.setdefault(digest, id)
                first = owners.setdefault(digest, name)
                if (owner != name and there != digest) or (first != name and number != id):
                    raise StateError(
                        f"{str(study.folder)!r} numbers candidates otherwise than the study of "
                        f"{first if there == digest else owner!r}: candidate {id} differs",
                        hint="It was searched by itself. Move it elsewhere: the device is then "
                        "measured again, with the builds in the store.",
                    )
        self._last = max(known, default=0)

    def of(self, candidate: Candidate) -> int:
        """Return a candidate's number: that which it has on any device, or a new one."""
        with self._lock:
            known = self._by_digest.get(candidate.digest)
            if known is None:
                self._last += 1
                known = self._by_digest[candidate.digest] = self._last
            return known

    def reserve(self, candidates: Iterable[Candidate]) -> None:
        """Number candidates in their order, unless they have numbers."""
        for candidate in candidates:
            self.of(candidate)
