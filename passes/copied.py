"""Copies of a model's files into what a pass makes of it."""

from __future__ import annotations

import shutil
from collections.abc import Set
from pathlib import Path

from paretune.core.model import Model


def copy_files(source: Model, out: Path, without: Set[str] = frozenset()) -> None:
    """Copy, not link: a write into the new model must not change the old one.

    Args:
        source: The model.
        out: Folder of the new one.
        without: Files to leave out, relative to the source's folder.
    """
    for file in source.parts:
        name = file.relative_to(source.path).as_posix()
        if name not in without:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, out / name)
