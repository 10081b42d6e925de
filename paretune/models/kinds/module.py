"""The kinds ``module`` and ``pt2``: PyTorch modules of a function, and exported programs.

Their folders are made from what the user names (`paretune.models.module_folder`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from paretune.core.model import ModelInfo
from paretune.models.checks.finding import Finding
from paretune.models.described_module import FILE, PROGRAM, read_described
from paretune.models.kinds.base import ArrayNames, Kind


class ModuleKind(Kind):
    """A function that returns a PyTorch module, with the code that it imports."""

    name: ClassVar[str] = "module"
    folder: ClassVar[str] = "a folder with paretune_module.json and the code that it names"
    shown: ClassVar[str] = "a PyTorch module (kind module)"

    def matches(self, folder: Path) -> bool:
        """Return whether it was made from a function."""
        return (folder / FILE).is_file() and not (folder / PROGRAM).is_file()

    def problems(self, folder: Path, base: Path | None) -> Sequence[Finding]:
        """Return nothing: it ran once when the folder was made.

        Raises:
            UsageError: What is known of it is damaged.
        """
        del base
        read_described(folder)
        return ()

    def inspect(self, folder: Path, size: int, base: Path | None = None) -> ModelInfo:
        """Return its size in numbers and bytes."""
        del base
        parameters = read_described(folder).parameters
        return ModelInfo(kind=self.name, bytes=max(size, 4 * parameters), parameters=parameters)

    def array_names(self, folder: Path) -> ArrayNames | None:
        """Return the names of its inputs and outputs."""
        said = read_described(folder)
        return ArrayNames(tuple(said.inputs), said.outputs)


class Pt2Kind(ModuleKind):
    """A program that ``torch.export.save`` wrote."""

    name: ClassVar[str] = "pt2"
    folder: ClassVar[str] = "a folder with paretune_module.json and program.pt2"
    shown: ClassVar[str] = "an exported PyTorch program (kind pt2)"

    def matches(self, folder: Path) -> bool:
        """Return whether it was made from an exported program."""
        return (folder / FILE).is_file() and (folder / PROGRAM).is_file()
