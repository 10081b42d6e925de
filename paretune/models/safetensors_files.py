"""Reads safetensors files: headers, where each tensor lies, which files hold the weights.

Imports neither torch nor the safetensors library.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

from paretune.core.errors import UsageError
from paretune.core.jsontools import Json, model_object
from paretune.models.tied import Place

# What the format itself allows: https://github.com/huggingface/safetensors.
_MAX_HEADER_BYTES = 100_000_000
_MAX_DIMENSIONS = 64
_MAX_COUNT = 1 << 48
"""Weights, layers, tokens, bytes: nothing that is counted in a model is more than this."""
_GET_AGAIN = "Get the model again from where it came from: this file of it is damaged."


def safetensors_header(path: Path) -> dict[str, dict[str, Json]]:
    """Return the header of a safetensors file: each tensor's dtype, shape and data_offsets.

    Raises:
        UsageError: It is not such a file, or is cut off.
    """
    size = path.stat().st_size
    with open(path, "rb") as source:
        head = source.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if length > min(_MAX_HEADER_BYTES, size - 8):
            raise UsageError(
                f"{path}: not a safetensors file (its header would have {length} bytes)",
                hint=_GET_AGAIN,
            )
        header = model_object(source.read(length), f"{path}: header")
    header.pop("__metadata__", None)
    for name, tensor in header.items():
        if not _is_tensor(tensor):
            raise UsageError(
                f"{path}: tensor {name[:80]!r}: expected dtype, shape and data_offsets, found "
                f"{repr(tensor)[:120]}",
                hint=_GET_AGAIN,
            )
        if tensor["data_offsets"][1] > size - 8 - length:
            raise UsageError(
                f"{path}: tensor {name[:80]!r} lies beyond the end of the file: it is cut off",
                hint=_GET_AGAIN,
            )
    return header


def tensors_of(path: Path) -> dict[str, Place]:
    """Return where each tensor of a safetensors file lies in it.

    Raises:
        UsageError: It is not such a file, or is cut off.
    """
    header = safetensors_header(path)
    with open(path, "rb") as source:
        first = 8 + struct.unpack("<Q", source.read(8))[0]
    return {
        name: Place(
            path,
            first + tensor["data_offsets"][0],
            first + tensor["data_offsets"][1],
            tuple(tensor["shape"]),
            tensor["dtype"],
        )
        for name, tensor in header.items()
    }


def _is_tensor(entry: Json) -> bool:
    """Return whether an entry of a safetensors header describes a tensor that can be."""
    if not isinstance(entry, dict):
        return False
    dtype, shape, ends = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    return (
        isinstance(dtype, str)
        and isinstance(shape, list)
        and len(shape) <= _MAX_DIMENSIONS
        and all(map(is_count, shape))
        and math.prod(shape) <= _MAX_COUNT
        and isinstance(ends, list)
        and len(ends) == 2
        and all(map(is_count, ends))
        and ends[0] <= ends[1]
    )


def is_count(value: Json) -> bool:
    """Return whether a value is a number of things that a model may have."""
    return type(value) is int and 0 <= value <= _MAX_COUNT


def weights_files(folder: Path, but: tuple[str, ...] = ()) -> list[Path]:
    """Return the files that hold a model's weights, each weight once.

    Some models come with all their weights a second time under another name
    (``consolidated.safetensors``), which nothing here loads.

    Args:
        folder: The model's.
        but: Names that do not count.
    """
    found = sorted(p for p in folder.glob("*.safetensors") if p.is_file() and p.name not in but)
    whole = [path for path in found if path.name == "model.safetensors"]
    parts = [path for path in found if path.name.startswith("model-")]
    return whole or parts or found
