"""The kind ``genai``: a folder of ONNX Runtime GenAI, with ``genai_config.json``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from paretune.core.errors import UsageError
from paretune.core.jsontools import Json, read_model_json
from paretune.core.model import Decoder, Model
from paretune.models.containment import inside, leads_out, named_by_onnx, shown
from paretune.models.kinds.base import Kind
from paretune.models.structure import structure_of_files

# Words of a key that say that its value names a file or a folder: `filename`, `data_file`,
# `tokenizer_dir`, `custom_ops_library`, and `enable_profiling` (the beginning of what it writes).
_FILE = frozenset({"file", "files", "filename", "filepath", "path", "library", "profiling"})
_FOLDER = frozenset({"dir", "folder", "root"})
_OPTIONS = frozenset({"session_options", "run_options", "provider_options"})
# ONNX Runtime takes any `session.NAME`, and some write where they are told to: in those that have a
# dot, nothing but numbers and switches.
_NUMBERS = re.compile(r"[-+0-9.,;]*|true|false", re.IGNORECASE)
_TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer_module.json")
# Files of a GenAI model that are named like the others, and are no ONNX models.
_NOT_ONNX = frozenset({"config_filename", "adapter_filename"})


class GenaiKind(Kind):
    """What ONNX Runtime GenAI's model builder writes."""

    name: ClassVar[str] = "genai"
    folder: ClassVar[str] = "an ONNX Runtime GenAI folder (with genai_config.json)"

    def matches(self, folder: Path) -> bool:
        """Return whether it has a GenAI configuration."""
        return (folder / "genai_config.json").is_file()

    def check(self, folder: Path, files: Sequence[Path]) -> set[Path]:
        """Return what its configuration, its tokenizers and its networks name."""
        named = _named_by_genai(folder, read_model_json(folder / "genai_config.json"))
        for path in files:
            if path.name in _TOKENIZER_FILES:
                named |= _named_by_tokenizer(path)
            if path.suffix == ".onnx":
                named |= named_by_onnx(path)
        return named

    def structure(self, model: Model) -> str:
        """Return the digest of its networks, adapters and other files."""
        return structure_of_files(model)

    def decoder(self, model: Model) -> Decoder:
        """Return what the configuration says of its tokens."""
        settings = read_model_json(model.path / "genai_config.json").get("model")
        return Decoder.read(settings, ("vocab_size",), ("context_length",), model.path)


def _named_by_tokenizer(file: Path) -> set[Path]:
    """Return the vocabulary that ONNX Runtime GenAI reads where a tokenizer names one."""
    name = read_model_json(file).get("tiktoken_file")
    return {inside(file.parent, name, f"{file}: tiktoken_file")} if name else set()


def _named_by_genai(folder: Path, config: dict[str, Json]) -> set[Path]:
    """Return what a GenAI configuration names; it may not load a library, nor write."""
    named = set()
    file = folder / "genai_config.json"
    model = config.get("model")
    decoder = model.get("decoder") if isinstance(model, dict) else None
    if not isinstance(decoder, dict) or not isinstance(decoder.get("session_options", {}), dict):
        raise UsageError(
            f"{file}: expected model.decoder, an object, and its session_options, another",
            hint="Expected a folder that ONNX Runtime GenAI's model builder wrote.",
        )
    for keys, value in _leaves(config):
        where, key = f"{file}: {'.'.join(keys)}", keys[-1]
        words = set(re.split(r"[._]", key.lower()))
        names_a_file = bool(words & (_FILE | _FOLDER))
        if not value:
            continue
        if not _OPTIONS.isdisjoint(keys):
            if names_a_file or not _is_plain(key, value):
                raise UsageError(
                    f"{where}: {shown(value)} is refused: a model's settings may not load a "
                    "library, nor read or write further files",
                    hint=f"Remove {key!r} from the file.",
                )
        elif names_a_file:
            found = inside(folder, value, where, or_folder=bool(words & _FOLDER))
            named.add(found)
            if key.endswith("filename") and key not in _NOT_ONNX:
                named |= named_by_onnx(found)
    return named


def _is_plain(option: str, value: Json) -> bool:
    """Return whether an option's value can be no path."""
    if not isinstance(value, str):
        return True
    if "." in option:
        return _NUMBERS.fullmatch(value) is not None
    return not re.search(r"[/\\]", value) and not leads_out(value)


def _leaves(value: Json, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Json]]:
    """Yield each plain value with the keys that lead to it; an entry of a list has its list's."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*keys, key))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, keys)
    else:
        yield keys, value
