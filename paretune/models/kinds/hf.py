"""The kind ``hf``: a Hugging Face folder, with ``config.json`` and safetensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from paretune.core.errors import UsageError
from paretune.core.jsontools import Json, read_model_json
from paretune.core.model import Decoder, Model, ModelInfo
from paretune.models.checks.finding import Finding
from paretune.models.checks.folder import check_folder
from paretune.models.checks.quantized import quantization_of
from paretune.models.containment import WEIGHTS, inside, shown
from paretune.models.files import counts_for_transformers
from paretune.models.kinds.base import Kind
from paretune.models.pickles import CONVERT_MODEL, how_to_convert, pickled, what_is_there
from paretune.models.safetensors_files import is_count, tensors_of, weights_files
from paretune.models.tasks import folder_task
from paretune.models.tied import is_tied, twice_there

_INDEX = "model.safetensors.index.json"
_INDEX_SUFFIX = ".safetensors.index.json"
_MAX_INDEX_BYTES = 64 << 20
_PRECISION = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}
_CONTEXTS = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "max_sequence_length",
)


class HfKind(Kind):
    """What transformers' ``save_pretrained`` writes."""

    name: ClassVar[str] = "hf"
    folder: ClassVar[str] = "a Hugging Face folder (with config.json and safetensors)"

    def matches(self, folder: Path) -> bool:
        """Return whether it is a Hugging Face folder, and not of an encoder (``hf-encoder``)."""
        return is_hugging_face(folder) and folder_task(folder) is None

    def counts(self, folder: Path) -> Callable[[Path, bool], bool]:
        """Return which of its entries transformers reads."""
        return counts_for_transformers(folder)

    def check(self, folder: Path, files: Sequence[Path]) -> set[Path]:
        """Return the files of weights that its configuration and its index name."""
        del files
        return _named_by_hugging_face(folder)

    def problems(self, folder: Path, base: Path | None) -> Sequence[Finding]:
        """Return what is wrong with its weights, its vocabulary and its tokens."""
        del base
        return check_folder(folder)

    def inspect(self, folder: Path, size: int, base: Path | None = None) -> ModelInfo:
        """Read its configuration and the headers of its weights."""
        del base
        file = folder / "config.json"
        config = read_model_json(file)
        modules, precision = set(), "fp32"
        tensors = {
            name: tensor
            for path in weights_files(folder)
            for name, tensor in tensors_of(path).items()
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
            kind=self.name,
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

    def decoder(self, model: Model) -> Decoder | None:
        """Return what its configuration says of its tokens, that of a text part included."""
        settings = read_model_json(model.path / "config.json")
        own = Decoder.read(settings, ("vocab_size",), _CONTEXTS, model.path)
        text = settings.get("text_config")
        inner = Decoder.read(text, ("vocab_size",), _CONTEXTS, model.path)
        return Decoder(own.vocabulary or inner.vocabulary, own.context or inner.context, model.path)


def is_hugging_face(folder: Path) -> bool:
    """Return whether it has a configuration of transformers, and no other that takes precedence.

    An ONNX file beside a configuration is the model where there are no safetensors (Optimum's
    exports).
    """
    others = ("genai_config.json", "adapter_config.json")
    there = (folder / "config.json").is_file()
    return (
        there
        and not any((folder / name).is_file() for name in others)
        and (not any(folder.glob("*.onnx")) or has_safetensors(folder))
    )


def has_safetensors(folder: Path) -> bool:
    """Return whether a folder has weights of transformers, by the names of its files."""
    return any((folder / name).is_file() for name in (WEIGHTS, _INDEX))


def _named_by_hugging_face(folder: Path) -> set[Path]:
    file = folder / "config.json"
    named, indices = set(), {folder / _INDEX}
    weights = read_model_json(file).get("transformers_weights")
    if weights is not None:  # takes precedence over the usual names
        where = f"{file}: transformers_weights"
        if str(weights).endswith(_INDEX_SUFFIX):
            indices.add(inside(folder, weights, where))
        else:
            named.add(_shard(folder, weights, where))
    for index in sorted(filter(Path.is_file, indices)):
        shards = read_model_json(index, most_bytes=_MAX_INDEX_BYTES).get("weight_map")
        if not isinstance(shards, dict):
            raise UsageError(f"{index}: expected a weight_map", hint="Is the model complete?")
        named |= {
            _shard(folder, name, f"{index}: weight_map") for name in set(map(str, shards.values()))
        }
    if not named and not (folder / WEIGHTS).is_file():
        # Safetensors of other names do not count: loaders would go on and look for a pickle.
        raise UsageError(
            f"model {str(folder)!r}: expected weights in {WEIGHTS} or {_INDEX}, "
            f"found {what_is_there(folder)}",
            hint=how_to_convert(pickled(folder)),
        )
    return named


def _shard(folder: Path, name: Json, where: str) -> Path:
    """Return a file of weights; loaders would take any but safetensors for a pickle."""
    path = inside(folder, name, where)
    if path.suffix != ".safetensors":
        raise UsageError(
            f"{where} names {shown(name)}, expected a .safetensors file", hint=CONVERT_MODEL
        )
    return path


def _count(file: Path, config: Mapping[str, Json], key: str) -> int:
    """Return a number of a configuration; 0 where it does not say, or says one for each layer."""
    value = config.get(key)
    if value is None or isinstance(value, list):
        return 0
    if not is_count(value):
        raise _unexpected(file, key, "a whole number", value)
    count: int = value
    return count


def _unexpected(file: Path, key: str, expected: str, found: Json) -> UsageError:
    return UsageError(
        f"{file}: {key}: expected {expected}, found {repr(found)[:60]}",
        hint="Expected what transformers' save_pretrained writes.",
    )
