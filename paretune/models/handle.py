"""Model handles: a folder with a kind and a content digest, and what can be told from its headers.

Nothing here imports torch or onnxruntime: safetensors headers and JSON files are read directly.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from paretune.core.errors import UsageError
from paretune.core.folders import folder_files
from paretune.core.jsontools import Json, model_object, read_json, read_model_json
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.stamps import joint_digest, take_all
from paretune.models.containment import check_model
from paretune.models.files import candidates, whole
from paretune.models.tied import Place, is_tied, twice_there

# What the format itself allows: https://github.com/huggingface/safetensors.
_MAX_HEADER_BYTES = 100_000_000
_MAX_DIMENSIONS = 64
_MAX_COUNT = 1 << 48
"""Weights, layers, tokens, bytes: nothing that is counted in a model is more than this."""
_GET_AGAIN = "Get the model again from where it came from: this file of it is damaged."


def folder_digest(folder: Path) -> str:
    """Return the content digest of a folder: names and contents, not times or places."""
    return joint_digest(take_all(folder, folder_files(folder)))


def model_files(folder: Path) -> list[Path]:
    """Return the files of a folder that are the model, in a fixed order (`model_files.py`).

    Raises:
        UsageError: It has no readable weights, or names files elsewhere.
    """
    named = check_model(folder)
    inner = {path for path in named if path.is_dir()}
    found = named - inner
    found.update(path for place in inner for path in place.rglob("*"))
    found.update(candidates(folder))
    return sorted(path for path in found if path.is_file())


def earlier_digests(folder: Path) -> Iterator[str]:
    """Yield what a model's digest was while every file counted, with and without studies in it."""
    for but_ours in (False, True):
        try:
            yield joint_digest(take_all(folder, whole(folder, but_ours=but_ours)))
        except UsageError:  # a file that nobody may read was no part of a model that was digested
            return


def model_bytes(model: Model) -> int:
    """Return the size of the files that are the model, in bytes."""
    return sum(path.stat().st_size for path in model.parts)


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below a folder, in bytes."""
    return sum(path.stat().st_size for path in folder_files(folder))


def detect_kind(folder: Path) -> ModelKind:
    """Return what a model folder is, by the files that only that kind has.

    Raises:
        UsageError: There is no such folder, or it is no model that paretune knows.
    """
    if not folder.is_dir():
        raise UsageError(
            f"model {str(folder)!r}: no such folder",
            hint="Give the path of a model folder: Hugging Face (config.json and safetensors), or "
            "ONNX Runtime GenAI (genai_config.json).",
        )
    if (folder / "genai_config.json").is_file():
        return ModelKind.GENAI
    if (folder / "adapter_config.json").is_file():
        return ModelKind.HF_ADAPTER
    if (folder / "config.json").is_file():
        return ModelKind.HF
    if any(folder.glob("*.onnx")):
        return ModelKind.ONNX
    raise UsageError(
        f"model {str(folder)!r}: no config.json, genai_config.json or .onnx file in it",
        hint="Expected a Hugging Face folder, an ONNX Runtime GenAI folder or an ONNX file.",
    )


def open_model(folder: Path, base: Path | None = None) -> Model:
    """Return a handle of a model folder that the user named.

    Args:
        folder: The model's.
        base: For an adapter, the folder of the model that it was trained on.

    Raises:
        UsageError: There is no such model, its weights are pickled, or it names files elsewhere.
    """
    kind = detect_kind(folder)
    below = None if base is None else open_model(base)
    files = take_all(folder, model_files(folder))
    return Model(kind, folder, joint_digest(files), below, files=files)


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
        and all(map(_is_count, shape))
        and math.prod(shape) <= _MAX_COUNT
        and isinstance(ends, list)
        and len(ends) == 2
        and all(map(_is_count, ends))
        and ends[0] <= ends[1]
    )


def _is_count(value: Json) -> bool:
    return type(value) is int and 0 <= value <= _MAX_COUNT


_PRECISION = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}


def inspect(folder: Path) -> ModelInfo:
    """Read a model folder's configuration and headers; loads no weights.

    Args:
        folder: A model folder of any kind.

    Returns:
        What could be read; unknown fields keep their defaults.

    Raises:
        UsageError: One of the files is damaged.
    """
    kind = detect_kind(folder)
    size = sum(path.stat().st_size for path in candidates(folder) if path.is_file())
    if kind is not ModelKind.HF:
        return ModelInfo(kind=kind, bytes=size)
    from paretune.models.checks.quantized import quantization_of  # it reads headers by this module

    file = folder / "config.json"
    config = read_model_json(file)
    modules, precision = set(), "fp32"
    tensors = {
        name: tensor for path in weights_files(folder) for name, tensor in tensors_of(path).items()
    }
    for name, tensor in tensors.items():
        precision = _PRECISION.get(tensor.dtype, precision)
        if len(tensor.shape) == 2 and name.endswith(".weight"):
            modules.add(name.split(".")[-2])
    tied = is_tied(folder, config, tensors)
    parameters = sum(math.prod(tensor.shape) for tensor in tensors.values())
    parameters -= twice_there(tensors) if tied else 0
    hidden = _count(file, config, "hidden_size")
    heads = _count(file, config, "num_attention_heads")
    model_type = config.get("model_type", "")
    if not isinstance(model_type, str):
        raise _unexpected(file, "model_type", "a name", model_type)
    tokenizer = folder / "tokenizer_config.json"
    return ModelInfo(
        kind=kind,
        model_type=model_type,
        bytes=size,
        parameters=parameters,
        hidden_size=hidden,
        layers=_count(file, config, "num_hidden_layers"),
        vocab_size=_count(file, config, "vocab_size"),
        head_dim=_count(file, config, "head_dim") or (hidden // heads if heads else 0),
        kv_heads=_count(file, config, "num_key_value_heads") or heads,
        tied=tied,
        modules=frozenset(modules),
        precision=precision,
        quantized=quantization_of(config) or "",
        chat_template=(folder / "chat_template.jinja").is_file()
        or (tokenizer.is_file() and bool(read_model_json(tokenizer).get("chat_template"))),
    )


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


def _count(file: Path, config: Mapping[str, Json], key: str) -> int:
    """Return a number of a configuration; 0 where it does not say, or says one for each layer."""
    value = config.get(key)
    if value is None or isinstance(value, list):
        return 0
    if not _is_count(value):
        raise _unexpected(file, key, "a whole number", value)
    count: int = value
    return count


def _unexpected(file: Path, key: str, expected: str, found: Json) -> UsageError:
    return UsageError(
        f"{file}: {key}: expected {expected}, found {repr(found)[:60]}",
        hint="Expected what transformers' save_pretrained writes.",
    )


def vocabulary_of(model: Model) -> int:
    """Return the number of tokens that a model knows; 0 if its folder does not say."""
    if model.kind is ModelKind.GENAI:
        size: int = read_json(model.path / "genai_config.json")["model"].get("vocab_size", 0)
        return size
    if model.kind is ModelKind.HF_ADAPTER and model.base is not None:
        return vocabulary_of(model.base)
    return inspect(model.path).vocab_size
