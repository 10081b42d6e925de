"""What one step of a recipe made, as one machine tells it to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from paretune.core.jsontools import Json
from paretune.core.stamps import Stamped


@dataclass(frozen=True)
class Made:
    """The artifact of one step, and the action that made it (`paretune.store.artifacts`).

    Attributes:
        key: The action's key.
        digest: Digest of the artifact.
        kind: What the artifact is.
        note: How it was made (pass, parameters, seconds).
        files: Its files in a fixed order, each with its name, size and SHA-256; none where the
            other side has the artifact.
    """

    key: str
    digest: str
    kind: str
    note: Mapping[str, Json] = field(default_factory=dict)
    files: tuple[Stamped, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Return the fields by name."""
        return {
            "key": self.key,
            "digest": self.digest,
            "kind": str(self.kind),
            "note": dict(self.note),
            "files": [file.to_json() for file in self.files],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Made:
        """Read what `to_json` wrote."""
        return cls(
            value["key"],
            value["digest"],
            value["kind"],
            value["note"],
            tuple(map(Stamped.from_json, value["files"])),
        )
