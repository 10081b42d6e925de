"""A model on disk as a value: its kind, its digest, and its facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from paretune.core.folders import folder_files
from paretune.core.jsontools import Json
from paretune.core.stamps import Stamped


class ModelKind(str):
    """The name of a kind of model: any string that a kind is registered by.

    There is one object per name, so that ``is`` compares two of them. The constants are the kinds
    that ship with paretune (`paretune.models.kinds`); a plain string does as well.
    """

    HF: ClassVar[ModelKind]
    HF_ADAPTER: ClassVar[ModelKind]
    HF_ENCODER: ClassVar[ModelKind]
    MODULE: ClassVar[ModelKind]
    PT2: ClassVar[ModelKind]
    GENAI: ClassVar[ModelKind]
    ONNX: ClassVar[ModelKind]
    _made: ClassVar[dict[str, ModelKind]] = {}

    def __new__(cls, name: str) -> ModelKind:
        """Return the one object of that name."""
        return cls._made.setdefault(name, super().__new__(cls, name))

    @property
    def value(self) -> str:
        """The name as a plain string."""
        return str(self)


ModelKind.HF = ModelKind("hf")
ModelKind.HF_ADAPTER = ModelKind("hf-adapter")
ModelKind.HF_ENCODER = ModelKind("hf-encoder")
ModelKind.MODULE = ModelKind("module")
ModelKind.PT2 = ModelKind("pt2")
ModelKind.GENAI = ModelKind("genai")
ModelKind.ONNX = ModelKind("onnx")


@dataclass(frozen=True)
class Decoder:
    """What is known of the tokens of a language model, by its folder.

    Attributes:
        vocabulary: How many it knows; 0 if unknown.
        context: How many its context holds; 0 if unknown.
        tokenizer: Folder of the tokenizer that it is used with.
    """

    vocabulary: int
    context: int
    tokenizer: Path

    @classmethod
    def read(
        cls, settings: Json, vocabulary: Sequence[str], context: Sequence[str], tokenizer: Path
    ) -> Decoder:
        """Return what a configuration says: each number under the first of its keys that has one.

        Args:
            settings: An object; of anything else nothing is known.
            vocabulary: Keys of the number of tokens.
            context: Keys of the length of the context.
            tokenizer: Folder of the tokenizer.
        """
        found = settings if isinstance(settings, dict) else {}
        vocabularies, contexts = (
            [found[k] for k in keys if type(found.get(k)) is int and found[k] > 0]
            for keys in (vocabulary, context)
        )
        return cls((*vocabularies, 0)[0], (*contexts, 0)[0], tokenizer)


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

    kind: str
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
            "kind": str(self.kind),
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

    kind: str
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
