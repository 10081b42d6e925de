"""Canonical JSON, its digests, and files written so that a crash leaves the old or the new one."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, TypeAlias

Json: TypeAlias = Any
"""A value made of None, bool, int, float, str, list and dict with str keys."""


def canonical(value: Json) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN.

    Raises:
        ValueError: The value holds NaN or an infinity, which JSON has no words for.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(value: Json) -> str:
    """Return ``sha256:`` and the hex digest of a value's canonical JSON."""
    return "sha256:" + hashlib.sha256(canonical(value).encode()).hexdigest()


def fsync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` durable (POSIX only; elsewhere nothing to do)."""
    if os.name != "posix":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace a file's content in one step: written aside, flushed to disk, renamed.

    Args:
        path: The file; its folder must exist.
        text: The whole new content.
        durable: Also wait until the disk holds it. False for files that can be rebuilt.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(aside, "w", encoding="utf-8") as out:
        out.write(text)
        if durable:
            out.flush()
            os.fsync(out.fileno())
    os.replace(aside, path)
    if durable:
        fsync_folder(path.parent)


def write_json(path: Path, value: Json, *, durable: bool = True) -> None:
    """Write a value as indented JSON, atomically."""
    write_atomic(
        path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        durable=durable,
    )  # fmt: skip


def read_json(path: Path) -> Json:
    """Read a JSON file (UTF-8)."""
    return json.loads(path.read_text(encoding="utf-8"))
