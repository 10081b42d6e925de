"""The paused trials of a study: ``candidates/NNNN/trial.json``, whole or not at all.

A trial that ended has an ``outcome.json``, which is the truth; its ``trial.json`` is removed after
that, unless the outcome is that it was not promoted: then the trial can still be continued.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from paretune.core.jsontools import canonical, read_json, write_atomic
from paretune.core.result import TrialResult
from paretune.search.trial_state import Trial
from paretune.study.reading import reading

_FILE = "trial.json"


class Paused:
    """Reads and writes the paused trials of one study.

    Args:
        folder: The study's folder.
        outcomes: Its outcomes. The trial of one that has ended is removed.

    Attributes:
        trials: By number.

    Raises:
        StateError: A trial cannot be read.
    """

    def __init__(self, folder: Path, outcomes: Iterable[TrialResult]) -> None:
        self._folder = folder
        ended = {outcome.id for outcome in outcomes if not outcome.not_promoted}
        self.trials: dict[int, Trial] = {}
        for file in sorted(folder.glob(f"candidates/*/{_FILE}")):
            trial = _read(file)
            if trial.id in ended:  # the process was killed between the two files
                file.unlink()
            else:
                self.trials[trial.id] = trial

    def write(self, trial: Trial, folder: Path) -> None:
        """Make a trial durable before it returns.

        Args:
            trial: The trial.
            folder: Its candidate's folder.
        """
        write_atomic(folder / _FILE, canonical(trial.to_json()) + "\n")
        self.trials[trial.id] = trial

    def remove(self, id: int) -> None:
        """Remove a trial, if there is one of this number."""
        if self.trials.pop(id, None) is not None:
            (self._folder / "candidates" / f"{id:04d}" / _FILE).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all of them."""
        for id in list(self.trials):
            self.remove(id)


def _read(file: Path) -> Trial:
    with reading(file, f"Remove it to have that candidate measured again: rm {file}"):
        trial = Trial.from_json(read_json(file))
        if file.parent.name != f"{trial.id:04d}":
            raise ValueError(f"it is the trial of candidate {trial.id}, of another folder")
        return trial
