"""Raw samples of a study's outcomes: on disk, and in memory of the latest only.

An outcome that is durable is kept without its long fields (`paretune/core/on_disk.py`); reading one
of them reads ``measurements.json``. That file must then be the one that was recorded: same size,
times and inode. Before this process replaces or removes it, what earlier values still point to is
read into memory (`SamplesOnDisk.hold`). If another process changes the file, reading is an error.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from paretune.core.errors import StateError
from paretune.core.jsontools import read_json
from paretune.core.measurement import Measurement
from paretune.core.result import TrialResult

MEASURED = "measurements.json"
LONG = 16
"""Fields with more values than this are left on disk."""
_RECENT = 64

Measured = dict[str, Measurement]
Signature = list[int] | None
"""Size, times of modification and change in nanoseconds, inode; None: there is no such file."""


def signature(file: Path | str) -> Signature:
    """Return what tells a version of a file from another one."""
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


@dataclass(eq=False)
class _Held:
    """What one outcome has on disk."""

    file: Path
    signature: Signature
    whole: Measured | None = None


@dataclass
class SamplesOnDisk:
    """Keeps the samples of one study's outcomes out of memory."""

    _recent: OrderedDict[_Held, Measured] = field(default_factory=OrderedDict)
    _held: dict[int, _Held] = field(default_factory=dict)

    def leave(self, outcome: TrialResult, file: Path) -> TrialResult:
        """Return an outcome that was just written or read, without its long fields.

        Args:
            outcome: With all of them.
            file: Its ``measurements.json``.
        """
        measured = dict(outcome.measurements or {})
        counts = {name: long_fields(m) for name, m in measured.items()}
        if not any(counts.values()):
            self._held.pop(outcome.id, None)
            return outcome
        held = self._held[outcome.id] = _Held(file, signature(file))
        self._remember(held, measured)
        short = {
            name: m.leaving(partial(self._whole, held, name), counts[name]) if counts[name] else m
            for name, m in measured.items()
        }
        return replace(outcome, measurements=short)

    def put_together(
        self,
        outcome: TrialResult,
        file: Path,
        signature: Signature,
        counts: Mapping[str, Mapping[str, int]],
    ) -> TrialResult:
        """Return an outcome whose long fields were never read.

        Args:
            outcome: Without them.
            file: Its ``measurements.json``.
            signature: Of the file.
            counts: By metric, which fields are on disk, and how long each is.
        """
        held = self._held[outcome.id] = _Held(file, signature)
        measured = {
            name: m.leaving(partial(self._whole, held, name), counts[name])
            if counts.get(name)
            else m
            for name, m in (outcome.measurements or {}).items()
        }
        return replace(outcome, measurements=measured)

    def hold(self, id: int) -> None:
        """Read into memory what an outcome has on disk: its file is about to change."""
        held = self._held.pop(id, None)
        if held is not None:
            with suppress(StateError):  # raised to whoever reads it
                held.whole = self._load(held)

    def _whole(self, held: _Held, metric: str) -> Measurement:
        return self._load(held)[metric]

    def _load(self, held: _Held) -> Measured:
        found = held.whole if held.whole is not None else self._recent.get(held)
        if found is None:
            found = _read(held)
        if held.whole is None:
            self._remember(held, found)
        return found

    def _remember(self, held: _Held, measured: Measured) -> None:
        self._recent[held] = measured
        self._recent.move_to_end(held)
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)


def long_fields(m: Measurement) -> dict[str, int]:
    """Return the fields of a measurement that are left on disk, and how long each is."""
    return {name: count for name, count in m.long_fields().items() if count > LONG}


def read_measured(file: Path) -> Measured:
    """Read a ``measurements.json``.

    Raises:
        ValueError: ... or another error of a damaged file.
    """
    return {name: Measurement.from_json(value) for name, value in read_json(file).items()}


def _read(held: _Held) -> Measured:
    before = signature(held.file)
    why = "it was changed or removed while the study was open"
    if before is not None and before == held.signature:
        try:
            found = read_measured(held.file)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            why = f"{type(error).__name__}: {error}"
        else:
            if signature(held.file) == before:
                return found
    raise StateError(
        f"{held.file} cannot be read: {why}",
        hint=f"Remove the folder {held.file.parent} to have that candidate measured again.",
    )
