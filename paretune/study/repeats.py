"""The repeats of a study's picks: ``repeats/NNNN.json``, by the number of the pick.

A repeat is a pick's recipe with other training seeds (`search/repeated_pick.py`). The file has what
each repeat yielded, with raw samples, and what that is valid for: the pick's artifact, the input
model, the data, and the versions and code of evaluators and passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paretune.core.jsontools import Json, canonical, digest, read_json, write_atomic
from paretune.core.measurement import Measurement
from paretune.core.result import TrialResult
from paretune.core.schemas import expect_schema
from paretune.plugin_identity import data_read_by
from paretune.study.reading import reading

FOLDER = "repeats"
_SCHEMA = 1
_IDENTITY = ("model", "base", "data", "labels", "evaluators", "measured_by")


class Repeats:
    """Reads and writes the repeats of one study.

    Args:
        folder: The study's folder.

    Raises:
        StateError: One of the files cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._identity: Mapping[str, Json] = {}
        files = (f for f in self._folder.glob("*.json") if f.stem.isdecimal())
        self._known = {int(file.stem): _read(file) for file in files}

    def valid_for(self, identity: Mapping[str, Json]) -> None:
        """Take into account what numbers depend on today (`paretune.study.identity`)."""
        self._identity = identity

    def of(self, pick: TrialResult) -> list[TrialResult]:
        """Return the repeats of a pick that hold today, by seed."""
        kept = self._known.get(pick.id)
        return [] if kept is None or not self._holds(kept, pick) else list(kept["repeats"])

    def add(self, pick: TrialResult, repeat: TrialResult) -> float:
        """Make a repeat of a pick durable.

        Returns:
            Seconds of earlier repeats that do not hold any more: they are not on record now.
        """
        before, kept = self._known.get(pick.id), self.of(pick)
        found = [*(r for r in kept if r.candidate.digest != repeat.candidate.digest), repeat]
        content: dict[str, Any] = {
            "schema": _SCHEMA,
            "artifact": pick.artifact,
            "key": self._key(pick),
        }
        self._folder.mkdir(exist_ok=True)
        text = canonical({**content, "repeats": [_to_json(each) for each in found]})
        write_atomic(self._folder / f"{pick.id:04d}.json", text + "\n")
        self._known[pick.id] = {**content, "repeats": found}
        return 0.0 if kept or before is None else _spent(before["repeats"])

    def seconds(self) -> float:
        """Return the seconds of all of them, those that do not hold any more included."""
        return sum(_spent(kept["repeats"]) for kept in self._known.values())

    def _holds(self, kept: Mapping[str, Any], pick: TrialResult) -> bool:
        return (kept["artifact"], kept["key"]) == (pick.artifact, self._key(pick))

    def _key(self, pick: TrialResult) -> str:
        identity, recipe = self._identity, pick.candidate.recipe
        passes, training = identity.get("passes") or {}, identity.get("training") or {}
        read = sorted({ref for step in recipe for ref in data_read_by(step)})
        return digest(
            [
                [identity.get(name) for name in _IDENTITY],
                {step.name: passes.get(step.name) for step in recipe},
                {ref: training.get(ref) for ref in read},
                pick.candidate.to_json(),
            ]
        )


def read_repeats(study: Path, pick: TrialResult) -> list[TrialResult]:
    """Return the repeats of a pick, of which only the pick's artifact is checked.

    Raises:
        StateError: The file cannot be read.
    """
    file = study / FOLDER / f"{pick.id:04d}.json"
    if not file.is_file():
        return []
    kept = _read(file)
    return list(kept["repeats"]) if kept["artifact"] == pick.artifact else []


def _read(file: Path) -> dict[str, Any]:
    with reading(file, f"Remove it to have that pick repeated again: rm {file}"):
        content = read_json(file)
        expect_schema(content["schema"], _SCHEMA)
        return {
            "artifact": content["artifact"],
            "key": content["key"],
            "repeats": [_from_json(value) for value in content["repeats"]],
        }


def _to_json(repeat: TrialResult) -> dict[str, Json]:
    measured = (repeat.measurements or {}).items()
    return {**repeat.to_json(), "measurements": {name: m.to_json() for name, m in measured}}


def _from_json(value: Mapping[str, Any]) -> TrialResult:
    measured = value["measurements"].items()
    return TrialResult.from_json(value, {name: Measurement.from_json(m) for name, m in measured})


def _spent(repeats: Sequence[TrialResult]) -> float:
    return sum(repeat.spent_s for repeat in repeats)
