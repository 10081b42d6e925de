"""``outcomes.jsonl``: a copy of a study's outcomes in one file, so that opening it reads one file.

The files ``candidates/NNNN/outcome.json`` and ``measurements.json`` stay the truth. The log only
saves reading them, and is never believed where they say something else:

- A line is made after an outcome's files are durable, and holds what they hold without the raw
  samples, beside the *signature* of each file: size, times of modification and change, inode.
- A line counts if its own checksum is right and both files have these signatures now. So a study
  that was copied, put back from a backup or edited by hand is read from its files, and so is every
  outcome whose line is missing, torn or damaged. Of several lines the last one counts.
- Lines are appended without waiting for the disk. A kill may cost lines, and the next opening
  reads those outcomes from their files and adds them; nothing else depends on the log. Where lines
  are superseded or unreadable, it is rewritten as a whole.
- Only the process that holds the study's lock writes it. Studies of earlier versions have none; if
  it cannot be written, the search goes on without it.

A line is ``CHECKSUM JSON``, with the first 16 hexadecimal digits of the JSON's SHA-256::

    {"v": 1, "id": 7, "files": [[...], [...]],
     "outcome": {...}, "measured": {...}, "on_disk": {...}}

``outcome`` is what ``outcome.json`` holds, ``measured`` what ``measurements.json`` holds of each
metric without the long fields, ``on_disk`` which those are and how long each is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from paretune.core.jsontools import Json, canonical, read_json, write_atomic
from paretune.core.measurement import Measurement
from paretune.core.result import TrialResult
from paretune.study.reading import reading
from paretune.study.samples import (
    MEASURED,
    SamplesOnDisk,
    Signature,
    long_fields,
    read_measured,
    signature,
)

OUTCOME = "outcome.json"
LOG = "outcomes.jsonl"
_VERSION = 1
_DIGITS = 16


class OutcomeLog:
    """The log of one study, which this process has locked.

    Args:
        folder: The study's folder.
        samples: Where long fields are left.
    """

    def __init__(self, folder: Path, samples: SamplesOnDisk) -> None:
        self._folder = folder
        self._file = folder / LOG
        self._samples = samples

    def read(self) -> list[TrialResult]:
        """Return the outcomes of the study, by number, and complete the log.

        Raises:
            StateError: One of them cannot be read.
        """
        lines, whole = self._lines()
        found, missing = list[TrialResult](), list[TrialResult]()
        for folder in _with_outcome(self._folder):
            outcome = self._of_line(folder, lines.get(folder.name))
            if outcome is None:
                read = read_outcome(folder / OUTCOME)
                outcome = self._samples.leave(read, folder / MEASURED)
                missing.append(outcome)
            found.append(outcome)
        if missing or not whole or len(lines) != len(found):
            self._complete(found, missing, rewrite=not whole or len(lines) > len(found))
        return sorted(found, key=lambda outcome: outcome.id)

    def append(self, outcome: TrialResult) -> None:
        """Add an outcome whose files were just written."""
        self._write([outcome])

    def _complete(
        self, found: Iterable[TrialResult], missing: Iterable[TrialResult], *, rewrite: bool
    ) -> None:
        if not rewrite:
            self._write(missing)
            return
        text = "".join(filter(None, map(self._line, found)))
        with contextlib.suppress(OSError):
            write_atomic(self._file, text, durable=False)

    def _write(self, outcomes: Iterable[TrialResult]) -> None:
        # Whatever goes wrong: the files are there, and the next opening reads them.
        with contextlib.suppress(OSError), open(self._file, "ab") as log:
            log.write("".join(filter(None, map(self._line, outcomes))).encode())

    def _lines(self) -> tuple[dict[str, dict[str, Json]], bool]:
        """Return the last line of each candidate's folder, and whether every line counts."""
        try:
            content = self._file.read_bytes()
        except OSError:
            return {}, not self._file.exists()
        found: dict[str, dict[str, Json]] = {}
        lines = content.split(b"\n")
        whole = lines.pop() == b""
        for line in lines:
            value = _checked(line)
            if value is None:
                whole = False
                continue
            name = f"{value['id']:04d}"
            whole = whole and name not in found
            found[name] = value
        return found, whole

    def _of_line(self, folder: Path, line: Mapping[str, Json] | None) -> TrialResult | None:
        """Return the outcome that a line holds; None if it is not that of the files."""
        if line is None or line["files"] != _signatures(folder):
            return None
        try:
            measured = {k: Measurement.from_json(v) for k, v in line["measured"].items()}
            outcome = TrialResult.from_json(line["outcome"], measured)
            if folder.name != f"{outcome.id:04d}":
                return None
            return self._samples.put_together(
                outcome, folder / MEASURED, line["files"][1], line["on_disk"]
            )
        except (AttributeError, KeyError, TypeError, ValueError):  # as its file says
            return None

    def _line(self, outcome: TrialResult) -> str:
        """Return the line of an outcome; an empty text if its files are not there."""
        folder = self._folder / "candidates" / f"{outcome.id:04d}"
        files = _signatures(folder)
        if files[0] is None:
            return ""
        measured = outcome.measurements or {}
        on_disk = {name: found for name, m in measured.items() if (found := long_fields(m))}
        short = {name: _short(m, on_disk.get(name, {})) for name, m in measured.items()}
        text = canonical(
            {
                "v": _VERSION,
                "id": outcome.id,
                "files": files,
                "outcome": outcome.to_json(),
                "measured": short,
                "on_disk": on_disk,
            }
        )
        return f"{_checksum(text.encode())} {text}\n"


def _short(m: Measurement, on_disk: Mapping[str, int]) -> Json:
    """Return what a measurement holds beside the fields that stay in its file."""
    nothing = Measurement(m.metric, m.value, m.unit)
    return m.leaving(lambda: nothing, on_disk).to_json()


def _checksum(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:_DIGITS]


def _checked(line: bytes) -> dict[str, Any] | None:
    """Return the value of a line; None if it is not what was written."""
    mark, space, text = line.partition(b" ")
    if not space or mark.decode("ascii", "replace") != _checksum(text):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) and value.get("v") == _VERSION else None


def _signatures(folder: Path) -> list[Signature]:
    """Return those of a candidate's two files."""
    place = os.fspath(folder)
    return [signature(f"{place}/{OUTCOME}"), signature(f"{place}/{MEASURED}")]


def _with_outcome(folder: Path) -> list[Path]:
    """Return the folders of candidates that have an outcome, by name."""
    candidates = folder / "candidates"
    with os.scandir(candidates) as entries:
        names = sorted(entry.name for entry in entries)
    return [candidates / name for name in names if os.path.isfile(candidates / name / OUTCOME)]


def read_outcome(file: Path, *, samples: bool = True) -> TrialResult:
    """Read one outcome from its files.

    Args:
        file: Its ``outcome.json``.
        samples: Also read raw samples.

    Raises:
        StateError: It cannot be read.
    """
    again = f"Remove the folder {file.parent} to have that candidate measured again."
    with reading(file, again):
        raw = file.with_name(MEASURED)
        measured = read_measured(raw) if samples and raw.is_file() else None
        outcome = TrialResult.from_json(read_json(file), measured)
        if file.parent.name != f"{outcome.id:04d}":
            raise ValueError(f"it is the outcome of candidate {outcome.id}, of another folder")
        return outcome
