"""The parents of a study: ``parents/DIGEST.json``, what was measured of each trained model.

A parent is the full-precision model that candidates are built from. Its metrics are keyed by its
digest, and by all that its evaluator's numbers depend on: parameters, version, code and data. They
are durable as soon as they were measured, so that a killed search does not measure them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from paretune.core.jsontools import Json, canonical, digest, read_json, write_atomic
from paretune.core.measurement import Measurement
from paretune.core.schemas import expect_schema
from paretune.search.jobs import EvaluatorSlot
from paretune.study.reading import reading

_SCHEMA = 1


class Parents:
    """Reads and writes what was measured of a study's parents.

    Args:
        folder: The study's folder.
        identity: What its numbers depend on (`paretune.study.identity`).
    """

    def __init__(self, folder: Path, identity: Mapping[str, Json]) -> None:
        self._folder = folder / "parents"
        self._identity = identity
        self._known: dict[str, dict[str, dict[str, Measurement]]] = {}

    def get(self, artifact: str, slot: EvaluatorSlot) -> Mapping[str, Measurement] | None:
        """Return what an evaluator has measured of a parent; None: nothing that counts today.

        Args:
            artifact: Digest of the parent.
            slot: The evaluator.

        Raises:
            StateError: The file cannot be read.
        """
        return self._of(artifact).get(self._key(slot))

    def put(self, artifact: str, slot: EvaluatorSlot, measured: Mapping[str, Measurement]) -> None:
        """Make durable what an evaluator has measured of a parent; empty: it could not."""
        known = self._of(artifact)
        known[self._key(slot)] = dict(measured)
        content: dict[str, Json] = {
            "schema": _SCHEMA,
            "artifact": artifact,
            "measured": {
                key: {name: m.to_json() for name, m in found.items()}
                for key, found in known.items()
            },
        }
        self._folder.mkdir(exist_ok=True)
        write_atomic(self._file(artifact), canonical(content) + "\n")

    def _file(self, artifact: str) -> Path:
        return self._folder / f"{artifact.rpartition(':')[2]}.json"

    def _of(self, artifact: str) -> dict[str, dict[str, Measurement]]:
        if artifact in self._known:
            return self._known[artifact]
        found: dict[str, dict[str, Measurement]] = {}
        file = self._file(artifact)
        if file.is_file():
            with reading(file, f"Remove it to have that model measured again: rm {file}"):
                content = read_json(file)
                expect_schema(content["schema"], _SCHEMA)
                for key, measured in content["measured"].items():
                    found[key] = {name: Measurement.from_json(m) for name, m in measured.items()}
        self._known[artifact] = found
        return found

    def _key(self, slot: EvaluatorSlot) -> str:
        identity = self._identity
        made_by = identity.get("measured_by") or ()
        return digest(
            [
                slot.name,
                dict(slot.params),
                made_by[slot.index] if slot.index < len(made_by) else None,
                identity.get("data"),
                identity.get("labels"),
            ]
        )
