"""Magika (file types) and rows of the standard library's files, labelled by their suffixes.

The network is read from the package ``magika`` (Apache-2.0); nothing of it is imported. A row is
what its documentation calls features: the first 1024 bytes and the last 1024 of a file without
white space at its ends, padded.
"""

from __future__ import annotations

import json
import random
import sysconfig
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from networks.subject import Prepared, Subject

_MOST = 40
"""Files of a label: half of the library's files would be Python."""
MODEL = Path("magika", "models", "standard_v3_3")
KNOWN_TYPES = Path("magika", "config", "content_types_kb.min.json")
_LEFT_OUT = "txt"
"""Any text may have this suffix: the library's tests keep mail and tables in such files."""
_PRODUCTS = ["Conv", "MatMul"]
_BYTES = 4096
"""How much is read at each end of a file, as Magika does."""


def prepare(packages: Path, folder: Path) -> Prepared:
    """Write the rows.

    Args:
        packages: Where the package is installed, or unpacked.
        folder: For the rows.
    """
    settings = json.loads((packages / MODEL / "config.min.json").read_text(encoding="utf-8"))
    labels: list[str] = settings["target_labels_space"]
    of_suffix = _labels_by_suffix(packages, labels)
    files: dict[str, list[Path]] = defaultdict(list)
    for file in sorted(Path(sysconfig.get_path("stdlib")).rglob("*")):
        label = of_suffix.get(file.suffix.lower().removeprefix("."))
        skipped = {"site-packages", "__pycache__"} & set(file.parts)
        if label is None or skipped or not file.is_file():
            continue
        if file.stat().st_size >= settings["min_file_size_for_dl"]:
            files[label].append(file)
    rows, answers = [], []
    for label, found in sorted(files.items()):
        random.Random(0).shuffle(found)
        for file in found[:_MOST]:
            rows.append(features(file.read_bytes(), settings))
            answers.append(labels.index(label))
    np.savez(folder / "files.npz", bytes=np.array(rows, np.int32), label=np.array(answers))
    return Prepared(
        model=str(packages / MODEL / "model.onnx"),
        data={
            "file": "files.npz",
            "inputs": {"bytes": "bytes"},
            "target": "label",
            "split": {"test": 0.75, "seed": 0},
        },
        quality=(
            {"classification": {"data": "rows.test"}},
            {"agreement": {"data": "rows.test"}},
        ),
        metric="accuracy",
        constraint="accuracy >= baseline - 0.01",
        loss=0.01,
        shapes={"bytes": (1, 2048)},
        passes=({"onnx_static_int8": {"per_channel": True, "op_types_to_quantize": _PRODUCTS}},),
    )


def features(content: bytes, settings: dict[str, Any]) -> list[int]:
    """Return what the network is given for a file.

    Args:
        content: Of the file.
        settings: Magika's ``config.min.json``.
    """
    pad = settings["padding_token"]
    first = list(content[:_BYTES].lstrip()[: settings["beg_size"]])
    last = list(content[-_BYTES:].rstrip()[-settings["end_size"] :])
    first += [pad] * (settings["beg_size"] - len(first))
    return first + [pad] * (settings["end_size"] - len(last)) + last


def _labels_by_suffix(packages: Path, labels: list[str]) -> dict[str, str]:
    """Return the label of each suffix that belongs to one label only."""
    known = json.loads((packages / KNOWN_TYPES).read_text(encoding="utf-8"))
    found: dict[str, set[str]] = defaultdict(set)
    for label in (label for label in labels if label != _LEFT_OUT):
        for suffix in known.get(label, {}).get("extensions", ()):
            found[suffix].add(label)
    return {suffix: of.pop() for suffix, of in found.items() if len(of) == 1}


SUBJECT = Subject("magika", "magika", "1.0.3", MODEL, prepare)
