"""Data sets whose rows another machine reads: this one knows their digests and how much there is.

Of each file there is its address (`paretune.azure.addresses`) and the SHA-256 of its content.
A task names it by a path that no machine has; the far side lays the file out and puts its own path
there (`paretune.targets.transports.tasks`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from paretune.core.jsontools import Json
from paretune.core.stamps import InputFiles, Stamp, Stamped
from paretune.data.spec import DataSpec

_ROOT = Path("/elsewhere")


@dataclass(frozen=True)
class FarFile:
    """A file that another machine reads.

    Attributes:
        address: Where it is.
        sha256: Hex digest of its content.
        size: In bytes.
    """

    address: str
    sha256: str
    size: int

    @property
    def path(self) -> Path:
        """What stands for it in tasks."""
        return _ROOT / self.sha256 / self.address.rpartition("/")[2]

    def stamped(self) -> Stamped:
        """Return it as tasks list files."""
        return Stamped(self.path, self.path.name, Stamp(self.size, 0, (0, 0), 0), self.sha256)


@dataclass(frozen=True)
class FarPart:
    """What is known of one reference (``tone.train``).

    Attributes:
        digest: That of the data set (`Dataset.digest`).
        rows: How many examples there are.
        characters: Of all their texts together.
        files: What its data set is read from.
    """

    digest: str
    rows: int
    characters: int
    files: tuple[FarFile, ...]

    def inputs(self, ref: str) -> InputFiles:
        """Return its files as tasks list them."""
        return InputFiles(f"data {ref}", tuple(f.stamped() for f in self.files), elsewhere=True)


@dataclass(frozen=True)
class Elsewhere:
    """The data sets of a configuration that another machine reads.

    Attributes:
        where: The name of the target that reads them.
        parts: By reference.
    """

    where: str = ""
    parts: Mapping[str, FarPart] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, FarFile]:
        """Their files by address."""
        return {file.address: file for part in self.parts.values() for file in part.files}

    def to_json(self) -> dict[str, Json]:
        """Return what `from_json` reads."""
        return {"where": self.where, "parts": {ref: asdict(p) for ref, p in self.parts.items()}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Elsewhere:
        """Read what `to_json` wrote."""
        parts = {
            ref: FarPart(
                part["digest"],
                part["rows"],
                part["characters"],
                tuple(FarFile(**file) for file in part["files"]),
            )
            for ref, part in value["parts"].items()
        }
        return cls(value["where"], parts)


def with_paths(spec: DataSpec, paths: Mapping[str, str]) -> DataSpec:
    """Return a data set with other paths for some of its files."""
    if spec.file is not None:
        return spec.model_copy(update={"file": paths.get(spec.file, spec.file)})
    files = spec.files and {part: paths.get(file, file) for part, file in spec.files.items()}
    return spec.model_copy(update={"files": files})
