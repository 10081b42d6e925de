"""What `paretune import-olive` does: reads Olive's file, writes ours."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from paretune.config.olive.entries import Status
from paretune.config.olive.rendering import file_text
from paretune.config.olive.translating import Translation, translate
from paretune.config.reading import read_configuration, read_source
from paretune.core.errors import UsageError
from paretune.core.user_paths import expanded
from paretune.models.hub import is_hub_name


@dataclass(frozen=True)
class Import:
    """The translation of an Olive file.

    Attributes:
        file: Olive's file.
        out: The file to write.
        translation: The translated configuration.
    """

    file: Path
    out: Path
    translation: Translation

    @property
    def is_whole(self) -> bool:
        """Whether every part of it is supported."""
        return not self.translation.of(Status.UNSUPPORTED)

    def command(self, folder: Path) -> str:
        """Return the command that runs the written file with Olive's folders, from a folder."""
        words = ["paretune", "run" if self.translation.is_one_recipe else "search"]
        words.append(os.path.relpath(self.out, folder))
        named = self.translation.folders
        for switch, place in (("--study", named.study), ("--store", named.store)):
            if place is not None:
                words += [switch, os.path.relpath(self.file.parent / expanded(place), folder)]
        return shlex.join(words)

    def write(self) -> None:
        """Write paretune's configuration.

        Raises:
            UsageError: Something is not supported, or the file exists or cannot be written.
        """
        self.translation.require_whole()
        text = file_text(self.translation, self.file.name, self.command(self.out.parent))
        write_new(self.out, text)


def write_new(out: Path, text: str) -> None:
    """Write a file that does not exist yet.

    Raises:
        UsageError: It exists or cannot be written.
    """
    try:
        with open(out, "x", encoding="utf-8") as written:
            written.write(text)
    except FileExistsError as error:
        raise UsageError(f"{out} already exists", hint="Name another file with --out.") from error
    except OSError as error:
        raise UsageError(
            f"{out} cannot be written: {error.strerror}", hint="Name another file with --out."
        ) from error


def read_import(file: Path, out: Path | None) -> Import:
    """Read and translate Olive's file; nothing is written yet.

    Args:
        file: Olive's configuration.
        out: The file to write; None: beside it, as YAML.

    Raises:
        ConfigError: It cannot be read, or is not a configuration of Olive.
    """
    text = read_configuration(file)
    out = file.with_suffix(".yaml") if out is None else out
    return Import(file, out, translate(read_source(text, str(file)), _placed(file, out)))


def _placed(file: Path, out: Path) -> Callable[[str], str]:
    """Return a function that converts paths for a configuration in another folder.

    A path is looked up beside the file that names it first, then in the working folder.
    """
    here, there = file.parent.resolve(), out.parent.resolve()

    def placed(name: str) -> str:
        beside = here / name
        if here == there or Path(expanded(name)).is_absolute():
            return name
        if beside.exists():
            return os.path.relpath(beside, there)
        if Path(name).exists():
            return os.path.relpath(Path(name).resolve(), there)
        return name if is_hub_name(name) else os.path.relpath(beside, there)

    return placed
