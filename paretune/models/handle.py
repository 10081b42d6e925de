"""Model handles: a folder with a kind and a content digest, and what can be told from its headers.

Nothing here imports torch or onnxruntime: safetensors headers and JSON files are read directly.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from paretune.core.errors import UsageError
from paretune.core.jsontools import Json, model_object, read_model_json
from paretune.core.stamps import Stamped, joint_digest, take_all
from paretune.models.containment import check_entry, check_model
from paretune.models.files import candidates, whole
from paretune.models.tied import Place, is_tied, twice_there

# What the format itself allows: https://github.com/huggingface/safetensors.
_MAX_HEADER_BYTES = 100_000_000
_MAX_DIMENSIONS = 64
_MAX_COUNT = 1 << 48
"""Weights, layers, tokens, bytes: nothing that is counted in a model is more than this."""
_GET_AGAIN = "Get the model again from where it came from: this file of it is damaged."


class ModelKind(StrEnum):
    """What a model folder is.

    ``hf``: Hugging Face folder with safetensors. ``hf-adapter``: a PEFT adapter, with its base
    beside it. ``genai``: an ONNX Runtime GenAI folder. ``onnx``: one ONNX file.
    """

    HF = "hf"
    HF_ADAPTER = "hf-adapter"
    GENAI = "genai"
    ONNX = "onnx"


@dataclass(frozen=True)
class Model:
    """A model on disk.

    Attributes:
        kind: What the folder is.
        path: The folder; never written to once it has a digest.
        digest: ``sha256:`` of its files' names and contents.
        base: For an adapter, the model it was trained on.
        files: Which files of the folder are the model, as they were when the digest was taken;
            None: all of them (what paretune wrote itself).
    """

    kind: ModelKind
    path: Path
    digest: str
    base: Model | None = None
    files: tuple[Stamped, ...] | None = None

    @property
    def parts(self) -> list[Path]:
        """The files that are the model, in a fixed order."""
        if self.files is None:
            return folder_files(self.path)
        return [self.path / file.name for file in self.files]

    def to_json(self) -> dict[str, Json]:
        """Return the handle by name, the base inside it."""
        files = {} if self.files is None else {"files": [file.to_json() for file in self.files]}
        return {
            "kind": self.kind.value,
            "path": str(self.path),
            "digest": self.digest,
            "base": None if self.base is None else self.base.to_json(),
            **files,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Model:
        """Read what `to_json` wrote."""
        base, files = value.get("base"), value.get("files")
        return cls(
            ModelKind(value["kind"]),
            Path(value["path"]),
            value["digest"],
            None if base is None else cls.from_json(base),
            None if files is None else tuple(map(Stamped.from_json, files)),
        )


@dataclass(frozen=True)
class ModelInfo:
    """What passes may know of a model before it exists or without loading it.

    Attributes:
        kind: What it is.
        model_type: ``config.json``'s architecture family, such as ``llama``.
        bytes: Size of its files.
        parameters: Number of weights (shared ones once); 0 if unknown.
        hidden_size: Width of the residual stream; 0 if unknown.
        layers: Number of decoder layers; 0 if unknown.
        vocab_size: Tokens in the vocabulary; 0 if unknown.
        head_dim: Width of one attention head; 0 if unknown.
        kv_heads: Heads of keys and values in a layer; 0 if unknown.
        tied: True if the embedding and the head share their weights.
        modules: Last names of the modules with a 2-D weight (``q_proj``, ``lm_head``, ...).
        precision: ``fp32``, ``fp16``, ``bf16``, ``int8``, ``int4`` or another pass's word.
        chat_template: True if the tokenizer brings one.
        built_with: Parameters of the pass that built it, for checks that depend on them.
        quantized: How a checkpoint says that its weights are quantized already; empty: not at all.
        unbuildable: What the model builder does not do as the model does it; empty: nothing known.
    """

    kind: ModelKind
    model_type: str = ""
    bytes: int = 0
    parameters: int = 0
    hidden_size: int = 0
    layers: int = 0
    vocab_size: int = 0
    head_dim: int = 0
    kv_heads: int = 0
    tied: bool = False
    modules: frozenset[str] = frozenset()
    precision: str = "fp32"
    chat_template: bool = False
    built_with: Mapping[str, Json] = field(default_factory=dict)
    quantized: str = ""
    unbuildable: str = ""


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
