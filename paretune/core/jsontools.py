"""Canonical JSON, its digests, and files written so that a crash leaves the old or the new one.

What is read has limits: a text from anywhere becomes a value that can be walked, hashed and
written again, or a clean error.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
from pathlib import Path
from typing import Any, TypeAlias

from paretune.core.errors import UsageError

Json: TypeAlias = Any
"""A value made of None, bool, int, float, str, list and dict with str keys."""

MAX_DEPTH = 100
"""Objects and arrays inside each other that are read: whatever walks them may recurse."""

_MAX_BYTES = 16 << 20
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


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

    Raises:
        OSError: It cannot be written; names the file, and leaves nothing behind.
    """
    # Two threads may write the same file.
    aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with open(aside, "w", encoding="utf-8") as out:
            out.write(text)
            if durable:
                out.flush()
                os.fsync(out.fileno())
        os.replace(aside, path)
    except OSError as error:
        # A full disk's error names no file, and the file aside would take of what is left.
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        error.filename, error.filename2 = str(path), None
        raise
    if durable:
        fsync_folder(path.parent)


def write_json(path: Path, value: Json, *, durable: bool = True) -> None:
    """Write a value as indented JSON, atomically."""
    write_atomic(
        path,
        json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        durable=durable,
    )


def read_json(path: Path) -> Json:
    """Read a JSON file of our own (UTF-8).

    Raises:
        ValueError: It is damaged.
    """
    return parse_json(path.read_text(encoding="utf-8"))


def read_model_json(path: Path, *, most_bytes: int = _MAX_BYTES) -> dict[str, Json]:
    """Read a JSON object that somebody else wrote: a file of a model.

    Args:
        path: The file.
        most_bytes: Larger ones are refused unread.

    Raises:
        UsageError: It is missing, too large, too deep, no JSON object, or has a key twice.
    """
    try:
        with open(path, "rb") as source:
            content = source.read(most_bytes + 1)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", hint="Is the model complete?"
        ) from error
    if len(content) > most_bytes:
        raise UsageError(
            f"{path}: larger than {most_bytes} bytes", hint="No model needs such a file."
        )
    return model_object(content, str(path))


def model_object(content: bytes, where: str) -> dict[str, Json]:
    """Return the JSON object in a part of a model.

    A key that is given twice is refused: the next reader might believe the other value.

    Args:
        content: UTF-8 text.
        where: What it is, for messages.

    Raises:
        UsageError: It is not one.
    """
    try:
        value = parse_json(content.decode("utf-8"), unique=True)
    except ValueError as error:
        raise UsageError(
            f"{where}: not JSON: {error}",
            hint="Get the model again from where it came from: this file of it is damaged.",
        ) from error
    if not isinstance(value, dict):
        raise UsageError(
            f"{where}: expected a JSON object, found a {type(value).__name__}",
            hint="Get the model again from where it came from: this file of it is damaged.",
        )
    return value


def parse_json(text: str, *, unique: bool = False, replace: bool = False) -> Json:
    """Return the value of a JSON text that may come from anywhere.

    Args:
        text: The text.
        unique: Refuse an object that has a key twice; else the last one counts.
        replace: Put ``?`` in the place of half a character, which is refused else.

    Raises:
        ValueError: It is not JSON, nests deeper than `MAX_DEPTH`, or holds half a character.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique if unique else None)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH}") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    if _SURROGATE.search(text):
        # Half of a surrogate pair is legal JSON, and no text: it can be neither hashed nor shown.
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            if not replace:
                raise ValueError("holds half of a surrogate pair") from error
            value = _whole_characters(value)
    return value


def _whole_characters(value: Json) -> Json:
    """Return a value of a known depth with ``?`` for each half of a surrogate pair."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, list):
        return [_whole_characters(inner) for inner in value]
    if isinstance(value, dict):
        return {_whole_characters(key): _whole_characters(v) for key, v in value.items()}
    return value


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:60]!r} is given twice")
        found[key] = value
    return found


def _deeper(value: Json, most: int) -> bool:
    """Return whether containers lie deeper inside each other than that; does not recurse."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(most):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


class OwnJson:
    """Annotation for pydantic: a field is serialised by its class's `to_json` and `from_json`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        def read(value: Any) -> Any:
            return value if isinstance(value, source) else source.from_json(value)

        return core_schema.no_info_plain_validator_function(
            read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: value.to_json()
            ),
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Json]:
        return {"type": "object"}
