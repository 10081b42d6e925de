"""What became of each key of an Olive configuration, and a ledger that no key escapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from paretune.config.yaml_source import Path, key_of
from paretune.core.jsontools import Json


class Status(StrEnum):
    """What became of a key."""

    TRANSLATED = "translated"
    APPROXIMATED = "approximated"
    NO_EFFECT = "no effect"
    UNSUPPORTED = "unsupported"
    ADDED = "added"


@dataclass(frozen=True)
class Entry:
    """One line of the list that `paretune import-olive` prints.

    An entry speaks for its key and for everything below it.

    Attributes:
        path: Where in the JSON; for what is added, where Olive would have it.
        status: What became of it.
        into: Key of our configuration, or switch of our command line.
        why: The reason, or what is different.
    """

    path: Path
    status: Status
    into: str | None = None
    why: str | None = None

    @property
    def key(self) -> str:
        """The path as people read it: ``passes.lora.config.lora_r``."""
        return key_of(self.path)

    def to_json(self) -> dict[str, Json]:
        """Return the entry as `paretune import-olive --json` shows it."""
        return {"key": self.key, "status": str(self.status), "into": self.into, "why": self.why}


class Ledger:
    """Takes down what became of each key; whatever nobody spoke for is unsupported.

    Args:
        value: The whole JSON.

    Attributes:
        origins: A key of our configuration to the key of the JSON that it came from.
    """

    def __init__(self, value: Json) -> None:
        self._value = value
        self._entries: dict[Path, Entry] = {}
        self._above: set[Path] = set()
        self._absent: list[Entry] = []
        self._refused: set[Path] = set()
        self.origins: dict[Path, Path] = {}

    def translated(self, path: Path, into: Path | str | None, why: str | None = None) -> None:
        """Take down a key that means the same with us."""
        self.record(path, Status.TRANSLATED, into, why)

    def approximated(self, path: Path, into: Path | str | None, why: str) -> None:
        """Take down a key that means nearly the same with us."""
        self.record(path, Status.APPROXIMATED, into, why)

    def no_effect(self, path: Path, why: str) -> None:
        """Take down a key that changes nothing."""
        self.record(path, Status.NO_EFFECT, None, why)

    def unsupported(self, path: Path, why: str) -> None:
        """Take down a key that cannot be honoured."""
        self.record(path, Status.UNSUPPORTED, None, why)

    def record(
        self, path: Path, status: Status, into: Path | str | None = None, why: str | None = None
    ) -> None:
        """Take down what became of a key of the JSON, and of all below it.

        What was spoken for below it keeps its own line.

        Args:
            path: The key.
            status: What became of it.
            into: A path of our configuration, or a switch of our command line.
            why: The reason.
        """
        assert not self.covers(path), f"{key_of(path)} is spoken for already"
        for free, _ in self._uncovered(path, self._at(path)):
            self._entries[free] = self._made(free, status, into, why)
            self._above.update(free[:length] for length in range(len(free)))

    def absent(
        self, path: Path, into: Path | str | None, why: str, status: Status = Status.ADDED
    ) -> None:
        """Take down what is not in the JSON: added, or missing there.

        A key that is there and wrong is not missing too: it, or what is below it, is spoken for
        already.

        Args:
            path: Where Olive would have it.
            into: Where it stands with us.
            why: The reason.
            status: Added, approximated, or unsupported where Olive needs it.
        """
        if status is Status.ADDED or not (self.covers(path) or path in self._above):
            self._absent.append(self._made(path, status, into, why))

    def came_from(self, ours: Path, path: Path) -> None:
        """Remember where a part of our configuration came from, for later errors."""
        self.origins.setdefault(ours, path)

    def origin(self, ours: Path) -> Path:
        """Return where a key of ours, or the nearest above it, came from."""
        return nearest_origin(self.origins, ours)

    def refuse(self, path: Path, why: str) -> None:
        """Make what was taken down of a key unsupported: it turned out not to fit.

        Args:
            path: The key; what speaks for it is changed.
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
        """Return whether an entry speaks for a key."""
        return any(path[:length] in self._entries for length in range(len(path) + 1))

    def entries(self) -> tuple[Entry, ...]:
        """Return every entry in the order of the JSON, what is not in it last.

        What nobody spoke for becomes unsupported; what is empty has no effect.
        """
        told = {entry.path for entry in self._absent if entry.status is not Status.ADDED}
        for free, inner in self._uncovered((), self._value):
            if free in told:
                continue
            if inner in ({}, []):
                self.no_effect(free, "it is empty")
            else:
                self.unsupported(free, "paretune knows no such key of Olive's here")
        return (*self._in_order((), self._value), *self._absent)

    def _at(self, path: Path) -> Json:
        value = self._value
        for key in path:
            value = value[key]
        return value

    def _uncovered(self, path: Path, value: Json) -> list[tuple[Path, Json]]:
        """Return the largest parts that no entry speaks for or stands in."""
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
    """Return where a key of ours came from; where its nearest parent did, if that is not known."""
    for length in range(len(ours), -1, -1):
        if ours[:length] in origins:
            return origins[ours[:length]]
    return ()


def children(path: Path, value: Json) -> list[tuple[Path, Json]]:
    """Return what lies directly inside, with its path; a list of plain values is one value."""
    if isinstance(value, dict):
        return [((*path, name), inner) for name, inner in value.items()]
    if isinstance(value, list) and any(isinstance(inner, (dict, list)) for inner in value):
        return [((*path, i), inner) for i, inner in enumerate(value)]
    return []
