"""What a study has used beyond the outcomes on record: dropped ones, and work without an outcome.

A result that no longer stands is dropped, and its candidate tried again under the same number. Its
time and its trial stay used: they lie beside the new result as ``candidates/NNNN/dropped-N.json``
(what ``outcome.json`` held). Seconds of work that ended without an outcome (it was in flight when
the time ran out) are added up in ``STUDY/spent.json``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from paretune.core.jsontools import fsync_folder, read_json, write_json
from paretune.core.result import TrialResult
from paretune.study.reading import reading

_OUTCOME, _MEASURED, _SPENT = "outcome.json", "measurements.json", "spent.json"


class Dropped:
    """The dropped outcomes and the unrecorded work of one study.

    Args:
        folder: The study's folder.

    Attributes:
        outcomes: What was dropped, oldest first for each candidate, without raw samples.
        highest: The largest number of a candidate among them.

    Raises:
        StateError: A file of them cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.outcomes: list[TrialResult] = []
        for file in sorted(folder.glob("candidates/*/dropped-*.json")):
            self.outcomes.append(_read(file, lambda value: TrialResult.from_json(value)))
        self._spent_s = sum(outcome.spent_s for outcome in self.outcomes)
        self._trials = sum(outcome.is_trial for outcome in self.outcomes)
        self.highest = max((outcome.id for outcome in self.outcomes), default=0)
        self._unrecorded = 0.0
        spent = folder / _SPENT
        if spent.is_file():
            self._unrecorded = _read(spent, lambda value: max(0.0, float(value["unrecorded_s"])))

    def drop(self, outcome: TrialResult) -> None:
        """Set an outcome aside, and remove its measurements: its number gets new ones.

        What ran no job has used nothing, and is removed.
        """
        folder = self._folder / "candidates" / f"{outcome.id:04d}"
        file = folder / _OUTCOME
        if outcome.ran_job or outcome.seconds:
            number = 1 + sum(known.id == outcome.id for known in self.outcomes)
            os.replace(file, folder / f"dropped-{number}.json")
            self.outcomes.append(outcome)
            self._spent_s += outcome.spent_s
            self._trials += outcome.is_trial
            self.highest = max(self.highest, outcome.id)
        else:
            file.unlink()
        fsync_folder(folder)
        (folder / _MEASURED).unlink(missing_ok=True)

    def waste(self, seconds: float) -> None:
        """Add seconds of work that gave no outcome; durable when it returns."""
        self._unrecorded += max(0.0, seconds)
        write_json(self._folder / _SPENT, {"schema": 1, "unrecorded_s": round(self._unrecorded, 3)})

    def seconds(self) -> float:
        """Return the seconds of all of it."""
        return self._unrecorded + self._spent_s

    def trials(self) -> int:
        """Return how many of the dropped results count as trials."""
        return self._trials


def _read(file: Path, make: Any) -> Any:
    forget = f"It says what time is used already. Remove it to forget that: rm {file}"
    with reading(file, forget):
        return make(read_json(file))
