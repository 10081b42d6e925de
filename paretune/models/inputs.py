"""Files that a search reads: stamped once, checked around each use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from paretune.core.errors import InputChangedError, InputTouchedError, UsageError
from paretune.core.model import Model
from paretune.core.stamps import InputFiles, Stamp, Stamped, stamp, take
from paretune.models.files import candidates

MODEL = "model"


class Inputs:
    """The files behind a search, by what they are.

    Args:
        model: The input model; an adapter's base belongs to it.
    """

    def __init__(self, model: Model) -> None:
        self._known: dict[str, list[InputFiles]] = {}
        found, what = [], f"model {str(model.path)!r}"
        inner: Model | None = model
        while inner is not None:
            if inner.files is not None:
                found.append(InputFiles(what, inner.files, inner.path))
            inner, what = inner.base, f"{what}'s base"
        self._known[MODEL] = found

    def add(self, name: str, what: str, files: Iterable[Stamped]) -> None:
        """Take files over, as they were digested.

        Args:
            name: Under which `entries` finds them.
            what: What they are, for messages.
            files: With their digests.
        """
        found = tuple(files)
        if found:
            self._known[name] = [InputFiles(what, found)]

    def add_far(self, name: str, files: InputFiles) -> None:
        """Take over files that only another machine reads."""
        self._known[name] = [files]

    def add_copy(self, name: str, copy: Stamped) -> None:
        """Take over a file that holds what others do, and travels in their place.

        Args:
            name: Under which `entries` finds them.
            copy: The file.
        """
        others = [
            e for e in self._known.get(name, ()) if copy.path not in {f.path for f in e.files}
        ]
        found = [replace(entry, stays=True) for entry in others]
        self._known[name] = [*found, InputFiles(name, (copy,))]

    def entries(self, *names: str) -> tuple[InputFiles, ...]:
        """Return the files that a job reads, with their stamps as they are now.

        Raises:
            InputChangedError: The content of one of them is not what was digested.
        """
        for name in names:
            self._known[name] = list(renewed(self._known.get(name, ())))
        return tuple(entry for name in names for entry in self._known[name])


def renewed(entries: Iterable[InputFiles]) -> tuple[InputFiles, ...]:
    """Return the same files as they look now; those that look otherwise are read again.

    Raises:
        InputChangedError: The content of one of them is not what was digested.
    """
    return tuple(_now(entry, strict=False) for entry in entries)


def check(entries: Iterable[InputFiles]) -> None:
    """Refuse what was made of files that may not have been the same all the time.

    Args:
        entries: The files, as they looked before they were used.

    Raises:
        InputChangedError: The content of one of them is not what was digested.
        InputTouchedError: One was rewritten with the same content.
    """
    for entry in entries:
        _now(entry, strict=True)


def _now(entry: InputFiles, *, strict: bool) -> InputFiles:
    if entry.elsewhere:
        return entry
    files = tuple(_file(entry.what, file, strict) for file in entry.files)
    if entry.folder is not None:
        known = {file.path for file in files}
        new = sorted(path for path in _there(entry.folder) if path not in known)
        if new:
            raise _changed(entry.what, new[0], "is new, and is read with the model")
    return replace(entry, files=files)


def _there(folder: Path) -> Iterator[Path]:
    try:
        yield from (path for path in candidates(folder) if path.is_file())
    except OSError:  # the folder is gone: its files say so
        return


def _file(what: str, known: Stamped, strict: bool) -> Stamped:
    try:
        now = stamp(known.path)
    except OSError as error:
        raise _changed(what, known.path, f"cannot be read: {error.strerror}") from error
    if now == known.stamp:
        return known
    try:
        read = take(known.path, known.name)
    except UsageError as error:
        raise _changed(what, known.path, "is being written") from error
    if read.sha256 != known.sha256:
        raise _changed(what, known.path, _difference(known.stamp, read.stamp))
    if strict and not read.stamp.same_but_for_links(known.stamp):
        raise InputTouchedError(
            f"{what}: {known.path} was rewritten while it was in use, with the same content"
        )
    return read


def _difference(before: Stamp, now: Stamp) -> str:
    size = f"{before.size} bytes before, {now.size} now"
    if before.size == now.size:
        size = f"{now.size} bytes as before"
    when = datetime.fromtimestamp(now.ctime_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"has another content ({size}; replaced or written at {when})"


def _changed(what: str, path: Path, how: str) -> InputChangedError:
    return InputChangedError(
        f"{what} changed during the search: {path} {how}",
        hint="What was measured before stays on record, what was under way is not kept. Put the "
        "file back and give the same command to go on; or give a folder of its own (--study DIR) "
        "to a search of what is there now.",
    )
