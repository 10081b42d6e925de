"""A cache of what comparisons of builds with the same source share.

``STORE/compared/`` holds a source's logits (``.safetensors``) and the result of a sketch
(``.json``), by the digest of everything that they depend on. They are not artifacts: only the
latest few files are kept, and a missing one is computed again.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paretune.core.distributions import package_version
from paretune.core.fidelity import VERSION
from paretune.core.jsontools import Json, digest, read_json

_KEPT = {".safetensors": 3, ".json": 100}
_PACKAGES = ("torch", "transformers", "peft", "onnxruntime", "onnxruntime-genai")


class ComparedCache:
    """Files by key; with a full disk or a folder that is not writable, values are computed again.

    Args:
        folder: Where; made at the first write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def key(self, *parts: Json) -> str:
        """Return the key of something that depends on these parts, and on what is installed."""
        versions = {name: package_version(name) for name in _PACKAGES}
        return digest([VERSION, versions, *parts]).removeprefix("sha256:")

    def value(self, key: str) -> Mapping[str, Any] | None:
        """Return what was kept as JSON, or None."""
        try:
            found: Mapping[str, Any] = read_json(self._folder / f"{key}.json")
        except (OSError, ValueError):
            return None
        return found

    def keep_value(self, key: str, value: Mapping[str, Json]) -> None:
        """Keep something as JSON."""
        self._write(f"{key}.json", lambda file: file.write_text(json.dumps(dict(value))))

    def arrays(self, key: str) -> list[Any] | None:
        """Return the arrays that were kept, in their order, or None."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            kept = load_file(self._folder / f"{key}.safetensors")
        except (OSError, SafetensorError):  # not there, or cut off
            return None
        return [kept[name] for name in sorted(kept)]

    def keep_arrays(self, key: str, arrays: Sequence[Any]) -> None:
        """Keep arrays."""
        import numpy as np
        from safetensors.numpy import save_file

        named = {f"{number:04}": np.ascontiguousarray(one) for number, one in enumerate(arrays)}
        self._write(f"{key}.safetensors", lambda file: save_file(named, file))

    def _write(self, name: str, write: Any) -> None:
        aside = self._folder / f".{uuid.uuid4().hex}.tmp"
        try:
            self._folder.mkdir(exist_ok=True)
            write(aside)
            os.replace(aside, self._folder / name)
            self._trim(Path(name).suffix)
        except OSError:
            aside.unlink(missing_ok=True)

    def _trim(self, suffix: str) -> None:
        found = sorted(self._folder.glob(f"[!.]*{suffix}"), key=lambda file: file.stat().st_mtime)
        for file in found[: -_KEPT[suffix]]:
            file.unlink(missing_ok=True)
