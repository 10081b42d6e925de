"""A model's weights against what its index and configuration say, by their headers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from paretune.core.jsontools import Json, read_model_json
from paretune.models.checks.finding import Finding

_GET_AGAIN = "Get the model again from where it came from."
_BYTES = {
    "F64": 8,
    "I64": 8,
    "U64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "U16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
# What the embedding of a language model is called; a vision tower's has another name.
_EMBEDDINGS = (
    "embed_tokens.weight",
    "wte.weight",
    "word_embeddings.weight",
    "embed_in.weight",
    "tok_embeddings.weight",
    "embeddings.weight",
)
_POINTER = b"version https://git-lfs.github.com/spec/"
_POINTED_AT = (".safetensors", ".json", ".model", ".jinja", ".txt", ".tiktoken", ".onnx", ".data")
_MAX_POINTER_BYTES = 1024

Tensors = Mapping[str, dict[str, Json]]


def check_pointers(folder: Path) -> Iterator[Finding]:
    """Yield the files that are Git LFS's pointers to what should be there, and empty ones."""
    for file in sorted(folder.iterdir()):
        if not file.is_file() or file.suffix not in _POINTED_AT:
            continue
        size = file.stat().st_size
        if size == 0 and file.suffix != ".txt":
            yield Finding(f"{file} is empty", _GET_AGAIN)
        elif size <= _MAX_POINTER_BYTES:
            with open(file, "rb") as source:
                begin = source.read(len(_POINTER))
            if begin == _POINTER:
                yield Finding(
                    f"{file} is not the file itself, but Git LFS's pointer to it ({size} bytes)",
                    "Fetch the files in the checkout: `git lfs install && git lfs pull`.",
                )


def check_tensors(folder: Path, files: Mapping[str, Tensors]) -> Iterator[Finding]:
    """Yield tensors that are not what the headers and the index state.

    Args:
        folder: A Hugging Face folder.
        files: File name to its header, of the files that hold its weights.
    """
    for name, tensors in files.items():
        for tensor, entry in tensors.items():
            width = _BYTES.get(entry["dtype"])
            begin, end = entry["data_offsets"]
            if width is not None and end - begin != width * math.prod(entry["shape"]):
                yield Finding(
                    f"{folder / name}: tensor {tensor[:80]!r} of shape {entry['shape']} and dtype "
                    f"{entry['dtype']} has {end - begin} bytes, expected "
                    f"{width * math.prod(entry['shape'])}",
                    _GET_AGAIN,
                )
    yield from _check_index(folder, files)
    yield from _check_layers(folder, files)


def _check_index(folder: Path, files: Mapping[str, Tensors]) -> Iterator[Finding]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file() or "model.safetensors" in files:
        return
    named = read_model_json(index, most_bytes=64 << 20).get("weight_map")
    lost = [
        (tensor, shard)
        for tensor, shard in (named if isinstance(named, dict) else {}).items()
        if shard in files and tensor not in files[shard]
    ]
    if lost:
        tensor, shard = lost[0]
        more = f" (and {len(lost) - 1} more such)" if len(lost) > 1 else ""
        yield Finding(
            f"{index}: weight_map: tensor {tensor[:80]!r} is listed in {shard}, and is not there"
            f"{more}",
            "The index and the shards are of different versions of the model: get both again.",
        )


def _check_layers(folder: Path, files: Mapping[str, Tensors]) -> Iterator[Finding]:
    """Yield layers that have no weights: a library would make them up at random."""
    config = read_model_json(folder / "config.json")
    layers = config.get("num_hidden_layers", config.get("n_layer"))
    there = {
        int(found[1])
        for tensors in files.values()
        for name in tensors
        if (found := _LAYER.search(name)) is not None
    }
    if type(layers) is not int or not there:
        return
    lost = [i for i in range(layers) if i not in there]
    if lost:
        yield Finding(
            f"{folder / 'config.json'}: num_hidden_layers is {layers}, and the weights have no "
            f"tensor of layer {', '.join(map(str, lost[:5]))}{', ...' if len(lost) > 5 else ''}",
            f"Is the model complete? {_GET_AGAIN}",
        )


def odd_dtypes(files: Mapping[str, Tensors]) -> dict[str, str]:
    """Return dtype to the name of one matrix, of matrices that are not floating point numbers."""
    return {
        entry["dtype"]: name
        for tensors in files.values()
        for name, entry in tensors.items()
        if name.endswith(".weight") and len(entry["shape"]) == 2 and entry["dtype"] not in FLOATS
    }


def embedding_rows(files: Mapping[str, Tensors]) -> tuple[int, str] | None:
    """Return the rows of the input embedding, and where they stand; None: it was not found."""
    found = [
        (name, entry["shape"][0], file)
        for file, tensors in files.items()
        for name, entry in tensors.items()
        if name.endswith(_EMBEDDINGS)
        and len(entry["shape"]) == 2
        and entry["dtype"] in FLOATS
        and "vision" not in name
        and "visual" not in name
        and "audio" not in name
    ]
    if not found:
        return None
    name, rows, file = min(found, key=lambda entry: len(entry[0]))
    return int(rows), f"{name} in {file}"
