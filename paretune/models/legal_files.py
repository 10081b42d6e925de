"""Licences and notices of the input model, which go with every package that is made from it.

They are no part of a model (`paretune.models.files`): no digest and no size knows of them. A study
keeps them from its start on, so that a package that is picked later, elsewhere or without the
input model, has them too.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from paretune.core.errors import UsageError
from paretune.core.folders import check_entry
from paretune.models.files import LOADED

FOLDER = "legal"
"""Where a study keeps them."""
_WORDS = (
    r"((un)?licen[cs]es?|notices?|copying|copyright|patents|(acceptable[-_ ])?use[-_ ]policy|"
    r"terms[-_ ]of[-_ ](use|service))(?![a-z])"
)
_FIRST = re.compile(_WORDS, re.IGNORECASE)
_INSIDE = re.compile(rf"(?<![a-z]){_WORDS}", re.IGNORECASE)
_TEXT = ("", ".txt", ".md", ".rst", ".pdf", ".html", ".htm", ".rtf")
_MAX_BYTES = 16 << 20
"""No licence is larger than this."""


def legal_files(folder: Path) -> list[Path]:
    """Return the licences and notices at the top of a model's folder, in a fixed order.

    A link that leads out of the folder is none of them: nothing out there is read.

    Args:
        folder: A model's folder of any kind; one that is not there has none.
    """
    if not folder.is_dir():
        return []
    root = folder.resolve()
    names = sorted(entry.name for entry in os.scandir(folder))
    return [folder / name for name in names if _is_legal(name) and _is_here(folder / name, root)]


def keep_legal(study: Path, folders: Iterable[Path]) -> None:
    """Copy the licences and notices of the input model into a study.

    Args:
        study: Its folder.
        folders: The input model's; of an adapter its base's too.
    """
    for name, file in legal_by_name(folders):
        target = study / FOLDER / name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target)


def add_legal(package: Path, folders: Iterable[Path]) -> list[str]:
    """Copy licences and notices into a package; what it has already stays.

    Args:
        package: Its folder.
        folders: Where they are: ``STUDY/legal``, or the input model's folder.

    Returns:
        The names of those that the package has now.
    """
    for name, file in legal_by_name(folders):
        if not (package / name).exists():
            shutil.copyfile(file, package / name)
    return [file.name for file in legal_files(package)]


def legal_by_name(folders: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Yield licences and notices with the names that they get beside each other.

    Two that differ under one name are both kept.

    Args:
        folders: Where they are.
    """
    taken: dict[str, bytes] = {}
    for folder in folders:
        for file in legal_files(folder):
            content, name = file.read_bytes(), file.name
            if taken.get(name, content) != content:
                name = f"{file.stem}-base{file.suffix}"
            if name not in taken:
                taken[name] = content
                yield name, file


def _is_legal(name: str) -> bool:
    suffix = Path(name).suffix.lower()
    if suffix in LOADED or name.startswith("."):
        return False
    return bool(_FIRST.match(name)) or (suffix in _TEXT and bool(_INSIDE.search(name)))


def _is_here(path: Path, root: Path) -> bool:
    try:
        check_entry(path, root)
    except UsageError:
        return False
    return path.is_file() and path.stat().st_size <= _MAX_BYTES
