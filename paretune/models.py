"""Model handles: a folder with a kind and a content digest, and what can be told from its headers.

Nothing here imports torch or onnxruntime: safetensors headers and JSON files are read directly.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from paretune.errors import UsageError
from paretune.jsontools import Json, read_json

_CHUNK = 1 << 22
_MAX_HEADER = 100 << 20


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
    """

    kind: ModelKind
    path: Path
    digest: str
    base: Model | None = None

    def to_json(self) -> dict[str, Json]:
        """Return the handle by name, the base inside it."""
        return {
            "kind": self.kind.value,
            "path": str(self.path),
            "digest": self.digest,
            "base": None if self.base is None else self.base.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Model:
        """Read what `to_json` wrote."""
        base = value.get("base")
        return cls(
            ModelKind(value["kind"]),
            Path(value["path"]),
            value["digest"],
            None if base is None else cls.from_json(base),
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
        tied: True if the embedding and the head share their weights.
        modules: Last names of the modules with a 2-D weight (``q_proj``, ``lm_head``, ...).
        precision: ``fp32``, ``fp16``, ``bf16``, ``int8``, ``int4`` or another pass's word.
        chat_template: True if the tokenizer brings one.
        built_with: Parameters of the pass that built it, for checks that depend on them.
    """

    kind: ModelKind
    model_type: str = ""
    bytes: int = 0
    parameters: int = 0
    hidden_size: int = 0
    layers: int = 0
    vocab_size: int = 0
    head_dim: int = 0
    tied: bool = False
    modules: frozenset[str] = frozenset()
    precision: str = "fp32"
    chat_template: bool = False
    built_with: Mapping[str, Json] = field(default_factory=dict)


def file_digest(path: Path) -> str:
    """Return the hex SHA-256 of a file's content."""
    with open(path, "rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def folder_files(folder: Path) -> list[Path]:
    """Return every regular file below a folder, in a fixed order.

    Raises:
        UsageError: A link leads out of the folder.
    """
    root = folder.resolve()
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    for path in files:
        if not path.resolve().is_relative_to(root):
            raise UsageError(
                f"{path} is a link that leads out of its model's folder",
                hint="Copy the file into the folder; models may not reach outside of it.",
            )
    return files


def folder_digest(folder: Path) -> str:
    """Return the content digest of a folder: names and contents, not times or places."""
    lines = [
        f"{path.relative_to(folder).as_posix()}\0{file_digest(path)}\n"
        for path in folder_files(folder)
    ]
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


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
            hint="Give the path of a Hugging Face model folder (config.json and safetensors).",
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


def open_model(folder: Path) -> Model:
    """Return a handle of a model folder that the user named.

    Raises:
        UsageError: There is no such model, or its weights are pickled.
    """
    kind = detect_kind(folder)
    if kind is ModelKind.HF and not any(folder.glob("*.safetensors")):
        pickled = sorted(p.name for p in folder.glob("*.bin")) + sorted(
            p.name for p in folder.glob("*.pt")
        )
        what = f"only pickled ones ({', '.join(pickled)})" if pickled else "none"
        raise UsageError(
            f"model {str(folder)!r}: expected weights as *.safetensors, found {what}",
            hint="Save it with transformers: model.save_pretrained(folder).",
        )
    return Model(kind, folder, folder_digest(folder))


def safetensors_header(path: Path) -> dict[str, Json]:
    """Return the JSON header of a safetensors file (tensor name to dtype and shape)."""
    with open(path, "rb") as source:
        (length,) = struct.unpack("<Q", source.read(8))
        if length > min(_MAX_HEADER, path.stat().st_size):
            raise UsageError(f"{path}: not a safetensors file (header of {length} bytes)")
        header: dict[str, Json] = json.loads(source.read(length))
    header.pop("__metadata__", None)
    return header


_PRECISION = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}


def inspect(folder: Path) -> ModelInfo:
    """Read a model folder's configuration and headers; loads no weights.

    Args:
        folder: A model folder of any kind.

    Returns:
        What could be read; unknown fields keep their defaults.
    """
    kind = detect_kind(folder)
    size = folder_bytes(folder)
    if kind is not ModelKind.HF:
        return ModelInfo(kind=kind, bytes=size)
    config = read_json(folder / "config.json")
    parameters, modules, precision = 0, set(), "fp32"
    for file in sorted(folder.glob("*.safetensors")):
        for name, tensor in safetensors_header(file).items():
            count = 1
            for length in tensor["shape"]:
                count *= length
            parameters += count
            precision = _PRECISION.get(tensor["dtype"], precision)
            if len(tensor["shape"]) == 2 and name.endswith(".weight"):
                modules.add(name.split(".")[-2])
    hidden, heads = config.get("hidden_size", 0), config.get("num_attention_heads", 0)
    tokenizer = folder / "tokenizer_config.json"
    return ModelInfo(
        kind=kind,
        model_type=config.get("model_type", ""),
        bytes=size,
        parameters=parameters,
        hidden_size=hidden,
        layers=config.get("num_hidden_layers", 0),
        vocab_size=config.get("vocab_size", 0),
        head_dim=config.get("head_dim") or (hidden // heads if heads else 0),
        tied=bool(config.get("tie_word_embeddings", False)),
        modules=frozenset(modules),
        precision=precision,
        chat_template=(folder / "chat_template.jinja").is_file()
        or (tokenizer.is_file() and bool(read_json(tokenizer).get("chat_template"))),
    )
