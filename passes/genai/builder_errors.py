"""What a failure of the model builder means: which key of config.json it looked for in vain.

The builder has no error of its own for a configuration that it does not understand: it ends with a
``KeyError`` from its middle, or with the path of a folder. For workers only.
"""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import Any

_PACKAGE = "onnxruntime_genai"
_NO_KEY = re.compile(r"'\w*Config' object has no attribute '(\w+)'")
_MAX_SIGNS = 200


def told(error: BaseException, folder: Path, *hidden: Path) -> str:
    """Return as text why the builder failed, without paths of this machine.

    Args:
        error: What it raised.
        folder: The model's.
        *hidden: Further folders that mean nothing to a reader.
    """
    frame = _frame(error)
    line = "" if frame is None else frame.line or ""
    key = error.args[0] if isinstance(error, KeyError) and error.args else None
    found = re.search(rf"config\.(\w+)\[['\"]{re.escape(str(key))}['\"]\]", line)
    if key is not None and found is not None:
        there = ", ".join(_keys(folder, found[1]))
        return (
            f"the builder looks for the key {key!r} in {found[1]} of config.json, which has none "
            f"as transformers reads it (it has {there or 'no keys'})"
        )
    missing = _NO_KEY.search(str(error)) if isinstance(error, AttributeError) else None
    if missing is not None:
        return f"the builder looks for the key {missing[1]!r} in config.json, which has none"
    where = "" if frame is None else f" in {frame.name} of {Path(frame.filename).name}"
    text = _plain(error, folder, *hidden)
    if isinstance(error, (NotImplementedError, ValueError)):
        return f"the builder refuses it: {text}"
    kind = type(error).__name__
    return f"the builder fails{where} with {kind}: {text}"


def _frame(error: BaseException) -> traceback.FrameSummary | None:
    """Return the builder's innermost line."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if _PACKAGE in Path(frame.filename).parts]
    return ours[-1] if ours else None


def _keys(folder: Path, name: str) -> list[str]:
    """Return the keys that a setting has once the library has read it."""
    from transformers import AutoConfig

    try:
        known: Any = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        return [str(key) for key in getattr(known, name)]
    except Exception:  # whatever a stranger's configuration makes a library raise
        return []


def _plain(error: BaseException, *folders: Path) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else "no message"
    for folder in sorted({*folders, *(f.resolve() for f in folders)}, key=lambda f: -len(str(f))):
        text = text.replace(str(folder), "model")
    return text if len(text) <= _MAX_SIGNS else f"{text[:_MAX_SIGNS]}..."
