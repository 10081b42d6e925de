"""A study on disk: its lock, its candidates' folders, its outcomes; the truth of a search.

An outcome's file is written whole or not at all, after its measurements, before the next candidate
starts. Everything else (``results.json``, ``study.db``, the report) is rebuilt from these files.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import yaml
from filelock import FileLock, Timeout

from paretune.core import interrupts
from paretune.core.candidate import Candidate
from paretune.core.errors import StateError, UsageError
from paretune.core.jsontools import Json, canonical, read_json, write_atomic, write_json
from paretune.core.measurement import Measurement
from paretune.core.result import TrialResult
from paretune.search.outcomes import Outcomes
from paretune.search.trial_state import Trial
from paretune.study.changes import Changes, compare, joined, told
from paretune.study.dropped import Dropped
from paretune.study.outcome_log import OutcomeLog, read_outcome
from paretune.study.parents import Parents
from paretune.study.paused import Paused
from paretune.study.reading import reading
from paretune.study.repeats import Repeats
from paretune.study.samples import MEASURED, SamplesOnDisk

CONFIRM = "confirm.json"
"""Beside a candidate's outcome: what it yields on the held-out data."""


class Study:
    """One search on disk, used by one process at a time.

    Args:
        folder: The study's folder; made if absent.

    Raises:
        StateError: Another process holds it, or an outcome in it cannot be read.
        UsageError: It cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        interrupts.at_stake()
        try:
            (folder / "candidates").mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / ".lock")
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise StateError(
                f"study {str(folder)!r} is in use by {self._holder()}",
                hint="Wait for it, or end it; or give this search a study of its own (--study).",
            ) from error
        except OSError as error:
            raise UsageError(
                f"study {str(folder)!r} cannot be written: {error.strerror}",
                hint="Name another folder with --study DIR.",
            ) from error
        started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        (folder / ".holder").write_text(
            f"process {os.getpid()} on {platform.node()} since {started}\n", encoding="utf-8"
        )
        self._sweep()
        self._samples = SamplesOnDisk()
        self._log = OutcomeLog(folder, self._samples)
        self.outcomes = Outcomes(self._log.read())
        self._dropped = Dropped(folder)
        self._paused = Paused(folder, self.outcomes)
        self.parents: Parents | None = None  # once it is known what they are valid for
        self._repeats = Repeats(folder)

    @property
    def paused(self) -> dict[int, Trial]:
        """Trials that can be continued, by number; some have an outcome as well: not promoted."""
        return self._paused.trials

    def _holder(self) -> str:
        try:
            return (self.folder / ".holder").read_text(encoding="utf-8").strip() or "a process"
        except FileNotFoundError:  # between its taking of the lock and its saying so
            return "a process that has just begun"

    def _sweep(self) -> None:
        """Remove what a killed process left half written: the lock excludes other writers."""
        for pattern in (".*.tmp", "candidates/*/.*.tmp", "repeats/.*.tmp"):
            for file in self.folder.glob(pattern):
                file.unlink()
        shutil.rmtree(self.folder / ".best.part", ignore_errors=True)

    def close(self) -> None:
        """Let the study go."""
        (self.folder / ".holder").unlink(missing_ok=True)
        self._lock.release()

    def claim(
        self,
        text: str,
        resolved: Json,
        identity: Mapping[str, Json],
        device: Mapping[str, Json],
        earlier_digests: Iterable[str] = (),
    ) -> Changes:
        """Write what the study is about, or check that it still is about the same.

        Outcomes that a change touches are set aside, so that their candidates are tried again.

        Args:
            text: The configuration as given.
            resolved: The configuration with everything filled in.
            identity: What its numbers depend on (`paretune.study.identity`): name to digest or
                value.
            device: ``TargetInfo.to_json()`` of the target.
            earlier_digests: What the model's digest would have been under earlier rules.

        Returns:
            What changed, and what became of it.

        Raises:
            UsageError: The study holds outcomes of something else, or of another device.
        """
        self.parents = Parents(self.folder, identity)
        self._repeats.valid_for(identity)
        known = self.folder / "identity.json"
        now = {**identity, "device": device["fingerprint"]}
        changes, measured = Changes(), bool(self.outcomes)
        require_identity(self.folder, self.outcomes)
        if self.outcomes and known.is_file():
            changes = changes_since(self.folder, self.outcomes, identity, device, earlier_digests)
            for outcome in changes.dropped:
                if changes.nothing_ran:
                    self.forget(outcome)
                else:
                    self.set_aside(outcome)
            now = now if changes.nothing_ran else joined(_read_object(known), now)
        if changes.touched or (not measured and known.is_file() and _read_object(known) != now):
            self._paused.clear()  # their rungs may be of something else: they are measured again
        write_json(known, now)
        shown = yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True, width=100)
        given = "".join(f"#   {line}\n" for line in text.splitlines())
        write_atomic(
            self.folder / "config.yaml",
            f"# As given:\n#\n{given}\n# As resolved:\n{shown}",
        )
        write_json(self.folder / "device.json", dict(device))
        return changes

    def set_aside(self, outcome: TrialResult) -> None:
        """Take an outcome back as `forget` does, and keep what it said in ``superseded.json``."""
        folder = self.candidate_folder(outcome.id)
        shutil.copyfile(folder / "outcome.json", folder / "superseded.json")
        self.forget(outcome)

    def next_id(self, taken: Collection[int] = ()) -> int:
        """Return a number that no candidate with a result has or had; ids start at 1.

        Args:
            taken: Further numbers that are in use: those of trials in flight.
        """
        last = self.outcomes[-1].id if self.outcomes else 0  # by number: the last is the largest
        return max(last, self._dropped.highest, *self.paused, *taken, 0) + 1

    def numbered(self) -> Iterator[tuple[int, Candidate]]:
        """Yield each number that a candidate has or had, with the candidate."""
        yield from ((outcome.id, outcome.candidate) for outcome in self.outcomes)
        yield from ((trial.id, trial.candidate) for trial in self.paused.values())
        yield from ((outcome.id, outcome.candidate) for outcome in self._dropped.outcomes)

    def candidate_folder(self, id: int) -> Path:
        """Return a candidate's folder, made if absent."""
        folder = self.folder / "candidates" / f"{id:04d}"
        folder.mkdir(exist_ok=True)
        return folder

    def begin(self, id: int, candidate: Candidate) -> Path:
        """Write down what is about to be tried; returns the candidate's folder."""
        folder = self.candidate_folder(id)
        write_json(folder / "recipe.json", candidate.to_json(), durable=False)
        return folder

    def record(self, outcome: TrialResult) -> None:
        """Make an outcome durable: measurements first, then ``outcome.json``.

        An earlier one of the same number is dropped: its candidate was tried again.
        """
        earlier = self.outcomes.get(outcome.id)
        if earlier is not None and earlier.id not in self.paused:  # else the same trial went on
            self.forget(earlier)
        kept = self._write(outcome)
        if not outcome.not_promoted:
            self._paused.remove(outcome.id)
        self.outcomes.put(kept)

    def pause(self, trial: Trial) -> None:
        """Make a trial durable that was paused after a rung."""
        self._paused.write(trial, self.candidate_folder(trial.id))

    def update(self, outcome: TrialResult) -> None:
        """Put an outcome in the place of the one with its id, as durably: more was measured."""
        self.outcomes.put(self._write(outcome))

    def confirm(self, outcome: TrialResult, key: Json, measured: Mapping[str, Measurement]) -> None:
        """Make durable what a candidate yields on the held-out data.

        Args:
            outcome: The candidate's.
            key: What the result is valid for, beside its artifact.
            measured: By metric.
        """
        content = {
            "schema": 1,
            "artifact": outcome.artifact,
            "key": key,
            "measurements": {name: m.to_json() for name, m in measured.items()},
        }
        write_atomic(self.candidate_folder(outcome.id) / CONFIRM, canonical(content) + "\n")

    def confirmed(self, outcome: TrialResult, key: Json) -> dict[str, Measurement] | None:
        """Return what `confirm` made durable; None where it was not, or is of something else."""
        return read_confirmed(self.folder, outcome, key)

    def repeats_of(self, outcome: TrialResult) -> list[TrialResult]:
        """Return what became of a candidate's recipe with other training seeds."""
        return self._repeats.of(outcome)

    def add_repeat(self, outcome: TrialResult, repeat: TrialResult) -> None:
        """Make durable what became of a candidate's recipe with other training seeds."""
        gone = self._repeats.add(outcome, repeat)
        if gone > 0:
            self.waste(gone)

    def _write(self, outcome: TrialResult) -> TrialResult:
        """Make an outcome durable; returns it with its raw samples left on disk."""
        folder = self.candidate_folder(outcome.id)
        measured = outcome.measurements or {}
        raw = {name: m.to_json() for name, m in measured.items()}
        self._samples.hold(outcome.id)
        if measured:
            write_atomic(folder / MEASURED, canonical(raw) + "\n")
        else:  # those of a candidate that was killed between its two files
            (folder / MEASURED).unlink(missing_ok=True)
        write_json(folder / "outcome.json", outcome.to_json())
        kept = self._samples.leave(outcome, folder / MEASURED)
        self._log.append(kept)
        return kept

    def forget(self, outcome: TrialResult) -> None:
        """Drop an outcome, so that its candidate is tried again under its number.

        What it has used stays used (`spent`, `trials`).
        """
        self._paused.remove(outcome.id)
        self._samples.hold(outcome.id)
        self._dropped.drop(outcome)
        self.outcomes.remove(outcome)

    def unfinished(self) -> list[TrialResult]:
        """Return the last dropped outcome of each candidate that has no other one now."""
        there = {outcome.id for outcome in self.outcomes}
        last = {o.id: o for o in self._dropped.outcomes if o.id not in there}
        return [last[id] for id in sorted(last)]

    def waste(self, seconds: float) -> None:
        """Add work that ended without an outcome to what is spent, durably."""
        self._dropped.waste(seconds)

    def spent(self) -> float:
        """Return the seconds of work of the study so far, dropped and unrecorded work included."""
        again = filter(None, map(self.outcomes.get, self.paused))
        ended = self.outcomes.spent_s - sum(outcome.spent_s for outcome in again)
        paused = sum(trial.spent_s for trial in self.paused.values())
        return ended + paused + self._dropped.seconds() + self._repeats.seconds()

    def trials(self) -> int:
        """Return how often a candidate ran a job so far, dropped results included.

        What was measured beyond the trials is left out.
        """
        again = filter(None, map(self.outcomes.get, self.paused))
        ended = self.outcomes.trials - sum(outcome.is_trial for outcome in again)
        return ended + len(self.paused) + self._dropped.trials()


def read_confirmed(
    folder: Path, outcome: TrialResult, key: Json = None
) -> dict[str, Measurement] | None:
    """Return what a candidate yielded on the held-out data.

    Args:
        folder: The study.
        outcome: The candidate's.
        key: What it must be valid for; None: whatever it was measured on.

    Returns:
        By metric; None if it was not measured, or with another artifact, evaluator or data.

    Raises:
        StateError: The file cannot be read.
    """
    file = folder / "candidates" / f"{outcome.id:04d}" / CONFIRM
    if not file.is_file():
        return None
    with reading(file, "Remove the file to have the pick measured again on the held-out data."):
        content = read_json(file)
        if content["artifact"] != outcome.artifact or key not in (None, content["key"]):
            return None
        return {k: Measurement.from_json(v) for k, v in content["measurements"].items()}


def _read_object(file: Path) -> dict[str, Json]:
    """Return the JSON object in a file of a study.

    Raises:
        StateError: It is damaged.
    """
    try:
        found = read_json(file)
        if isinstance(found, dict):
            return found
        why = f"expected an object, found a {type(found).__name__}"
    except ValueError as error:
        why = f"{type(error).__name__}: {error}"
    raise StateError(
        f"{file} cannot be read: {why}",
        hint="It says what the outcomes are valid for: put it back, or name a new folder with "
        "--study DIR.",
    )


def require_identity(folder: Path, outcomes: Sequence[TrialResult]) -> None:
    """Refuse a study that does not record what its numbers are valid for.

    Raises:
        StateError: Something was measured, and what it depends on is not there any more.
    """
    file = folder / "identity.json"
    if not file.is_file() and any(outcome.ran_job for outcome in outcomes):
        raise StateError(
            f"{file} is missing: it records which model, data and device the "
            f"{len(outcomes)} outcomes in this study belong to",
            hint="Restore it, or begin a new study with --study DIR: models that were built from "
            "the same inputs are taken from the store.",
        )


def changes_since(
    folder: Path,
    outcomes: Sequence[TrialResult],
    identity: Mapping[str, Json],
    device: Mapping[str, Json],
    earlier_digests: Iterable[str] = (),
) -> Changes:
    """Return what changed of that which a study's numbers depend on; nothing is written.

    Args:
        folder: The study.
        outcomes: Its outcomes.
        identity: Today's (`paretune.study.identity`).
        device: ``TargetInfo.to_json()`` of the target.
        earlier_digests: What the model's digest would have been under earlier rules.

    Raises:
        UsageError: The study holds outcomes of something else.
    """
    facts = folder / "device.json"
    changes = compare(
        _read_object(folder / "identity.json"),
        {**identity, "device": device["fingerprint"]},
        outcomes,
        (_read_object(facts) if facts.is_file() else {}, device),
        earlier_digests,
    )
    if not any(outcome.ran_job for outcome in outcomes):
        # Nothing was measured yet (a provider that is not here, say): nothing is mixed.
        gone = list(outcomes) if changes.refused or changes.dropped else []
        return Changes(dropped=gone, nothing_ran=True)
    if changes.refused:
        raise UsageError(
            f"study {str(folder)!r} holds {len(outcomes)} outcomes of something else: "
            f"{told(changes.refused)}",
            hint="Measurements of the two cannot be mixed, and those on record stay as they are. "
            "Put back what changed, or name a new folder with --study DIR: what did not change is "
            "taken from the store.",
        )
    return changes


def read_outcomes(folder: Path, *, samples: bool = True) -> list[TrialResult]:
    """Read every outcome of a study, by id.

    Args:
        folder: The study.
        samples: Also read raw samples.

    Raises:
        StateError: One of them cannot be read.
    """
    files = folder.glob("candidates/*/outcome.json")
    found = [read_outcome(file, samples=samples) for file in files]
    return sorted(found, key=lambda outcome: outcome.id)
