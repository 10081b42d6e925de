"""Files below a model's folder: no link leads out of it."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from pathlib import Path

from paretune.core.errors import UsageError


def check_entry(path: Path, root: Path) -> None:
    """Refuse a link that leads out of a model's folder or stands for a folder, and a broken name.

    Args:
        path: A file or folder in the model.
        root: The model's folder, resolved.

    Raises:
        UsageError: It is one of these.
    """
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{path.parent}: the file name {path.name!r} is not UTF-8", hint="Rename the file."
        ) from error
    if not path.is_symlink():
        return
    if not _stays(path, root):
        gone = "" if path.exists() else ", to a file that is not there"
        plain = f"{root}-plain"
        raise UsageError(
            f"{path} is a link that leads out of its model's folder{gone}",
            hint="Models may not reach outside of their folder. Make a plain folder of it: "
            f"cp -rL {shlex.quote(str(root))} {shlex.quote(plain)}; or, of a model of the hub: "
            "hf download NAME --local-dir FOLDER.",
        )
    if path.is_dir():  # what is below it would be neither hashed nor copied
        raise UsageError(f"{path} is a link to a folder", hint="Put the folder itself there.")


def _stays(path: Path, root: Path) -> bool:
    """Return whether a path leads to a place in the model's folder, or among the hub's own blobs.

    The hub's tools keep a model as ``models--ORG--NAME/snapshots/REVISION``, a folder of links to
    files in ``models--ORG--NAME/blobs``.
    """
    try:
        target = path.resolve()
        if target.is_relative_to(root):
            return True
        hubs = (
            place.parent
            for place in root.parents
            if place.name == "snapshots" and place.parent.name.startswith("models--")
        )
        hub = next(hubs, None)
        return hub is not None and target.parent == hub / "blobs" and target.is_file()
    except (OSError, RuntimeError):  # links in a circle
        return False


def link_or_copy(source: Path, target: Path) -> None:
    """Make a file a hard link of another one, or a copy where the file system allows no link.

    Args:
        source: The file; of a link, what it leads to.
        target: The file to make.
    """
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def folder_files(folder: Path) -> list[Path]:
    """Return every regular file below a folder, in a fixed order.

    Raises:
        UsageError: A link leads out of the folder, or a name is not UTF-8.
    """
    root = folder.resolve()
    found = sorted(folder.rglob("*"))
    for path in found:
        check_entry(path, root)
    return [path for path in found if path.is_file()]


def folder_size(folder: Path) -> int:
    """Return the bytes of all files in a folder; of a link, those of what it leads to."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def remove_files(folder: Path) -> list[str]:
    """Remove all files below a folder, as far as that is possible.

    Returns:
        The folders below it, inner ones first.
    """
    found = []
    for place, folders, files in os.walk(folder, topdown=False):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in (*files, *links):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(place, name))
        found.append(place)
    return found[:-1]
