"""The result for each key of an Olive configuration, in a ledger that covers every key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from paretune.config.yaml_source import Path, key_of
from paretune.core.jsontools import Json


class Status(StrEnum):
    """The result for a key."""

    TRANSLATED = "translated"
    APPROXIMATED = "approximated"
    NO_EFFECT = "no effect"
    UNSUPPORTED = "unsupported"
    ADDED = "added"


@dataclass(frozen=True)
class Entry:
    """One line of the list that `paretune import-olive` prints.

    An entry covers its key and everything below it.

    Attributes:
        path: Path in the JSON; for an added key, the path that Olive would use.
        status: The result.
        into: Key of paretune's configuration, or switch of its command line.
        why: The reason, or the difference.
    """

    path: Path
    status: Status
    into: str | None = None
    why: str | None = None

    @property
    def key(self) -> str:
        """The path as text: ``passes.lora.config.lora_r``."""
        return key_of(self.path)

    def to_json(self) -> dict[str, Json]:
        """Return the entry as `paretune import-olive --json` shows it."""
        return {"key": self.key, "status": str(self.status), "into": self.into, "why": self.why}


class Ledger:
    """Records the result for each key; a key without a record is unsupported.

    Args:
        value: The whole JSON.

    Attributes:
        origins: A key of paretune's configuration to the key of the JSON that it came from.
    """

    def __init__(self, value: Json) -> None:
        self._value = value
        self._entries: dict[Path, Entry] = {}
        self._above: set[Path] = set()
        self._absent: list[Entry] = []
        self._refused: set[Path] = set()
        self.origins: dict[Path, Path] = {}

    def translated(self, path: Path, into: Path | str | None, why: str | None = None) -> None:
        """Record a key that has the same meaning in paretune."""
        self.record(path, Status.TRANSLATED, into, why)

    def approximated(self, path: Path, into: Path | str | None, why: str) -> None:
        """Record a key that has nearly the same meaning in paretune."""
        self.record(path, Status.APPROXIMATED, into, why)

    def no_effect(self, path: Path, why: str) -> None:
        """Record a key that changes nothing."""
        self.record(path, Status.NO_EFFECT, None, why)

    def unsupported(self, path: Path, why: str) -> None:
        """Record a key that cannot be translated."""
        self.record(path, Status.UNSUPPORTED, None, why)

    def record(
        self, path: Path, status: Status, into: Path | str | None = None, why: str | None = None
    ) -> None:
        """Record the result for a key of the JSON, and for all keys below it.

        Keys below it that have a record keep it.

        Args:
            path: The key.
            status: The result.
            into: A path of paretune's configuration, or a switch of its command line.
            why: The reason.
        """
        assert not self.covers(path), f"{key_of(path)} has a record already"
        for free, _ in self._uncovered(path, self._at(path)):
            self._entries[free] = self._made(free, status, into, why)
            self._above.update(free[:length] for length in range(len(free)))

    def absent(
        self, path: Path, into: Path | str | None, why: str, status: Status = Status.ADDED
    ) -> None:
        """Record a key that is not in the JSON: added, or missing there.

        An existing key with an error is not missing too: it, or a key below it, has a record
        already.

        Args:
            path: The path that Olive would use.
            into: Its key in paretune's configuration.
            why: The reason.
            status: Added, approximated, or unsupported if Olive requires it.
        """
        if status is Status.ADDED or not (self.covers(path) or path in self._above):
            self._absent.append(self._made(path, status, into, why))

    def came_from(self, ours: Path, path: Path) -> None:
        """Record where a part of paretune's configuration came from, for later errors."""
        self.origins.setdefault(ours, path)

    def origin(self, ours: Path) -> Path:
        """Return where a key of paretune's configuration, or the nearest above it, came from."""
        return nearest_origin(self.origins, ours)

    def refuse(self, path: Path, why: str) -> None:
        """Change the record of a key to unsupported, because its value does not fit.

        Args:
            path: The key.
            why: The reason.
        """
        for length in range(len(path), -1, -1):
            if path[:length] in self._entries:
                spoken = path[:length]
                self._entries[spoken] = self._made(spoken, Status.UNSUPPORTED, None, why)
                return
        self._absent.append(self._made(path, Status.UNSUPPORTED, None, why))

    def refuses(self, path: Path) -> bool:
        """Return whether a key, or anything below it, is unsupported."""
        return path in self._refused

    def covers(self, path: Path) -> bool:
        """Return whether an entry covers a key."""
        return any(path[:length] in self._entries for length in range(len(path) + 1))

    def entries(self) -> tuple[Entry, ...]:
        """Return every entry in the order of the JSON; keys that are not in it come last.

        A key without a record becomes unsupported; an empty one has no effect.
        """
        told = {entry.path for entry in self._absent if entry.status is not Status.ADDED}
        for free, inner in self._uncovered((), self._value):
            if free in told:
                continue
            if inner in ({}, []):
                self.no_effect(free, "the value is empty")
            else:
                self.unsupported(free, "paretune does not know this key of Olive at this place")
        return (*self._in_order((), self._value), *self._absent)

    def _at(self, path: Path) -> Json:
        value = self._value
        for key in path:
            value = value[key]
        return value

    def _uncovered(self, path: Path, value: Json) -> list[tuple[Path, Json]]:
        """Return the largest parts that no entry covers or is inside of."""
        if self.covers(path):
            return []
        if path not in self._above and path:
            return [(path, value)]
        return [free for p, v in children(path, value) for free in self._uncovered(p, v)]

    def _in_order(self, path: Path, value: Json) -> Iterator[Entry]:
        if path in self._entries:
            yield self._entries[path]
            return
        for inner_path, inner in children(path, value):
            yield from self._in_order(inner_path, inner)

    def _made(self, path: Path, status: Status, into: Path | str | None, why: str | None) -> Entry:
        if status is Status.UNSUPPORTED:
            self._refused.update(path[:length] for length in range(len(path) + 1))
        if isinstance(into, tuple):
            self.came_from(into, path)
            into = key_of(into)
        return Entry(path, status, into, why)


def nearest_origin(origins: Mapping[Path, Path], ours: Path) -> Path:
    """Return where a key of paretune's configuration, or else its nearest parent, came from."""
    for length in range(len(ours), -1, -1):
        if ours[:length] in origins:
            return origins[ours[:length]]
    return ()


def children(path: Path, value: Json) -> list[tuple[Path, Json]]:
    """Return the direct children, with their paths; a list of plain values is one value."""
    if isinstance(value, dict):
        return [((*path, name), inner) for name, inner in value.items()]
    if isinstance(value, list) and any(isinstance(inner, (dict, list)) for inner in value):
        return [((*path, i), inner) for i, inner in enumerate(value)]
    return []
