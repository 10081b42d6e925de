"""What the files of a model may name: files in the model's own folder, and nothing else.

A model is data from elsewhere. Its index files, run-time settings and ONNX tensors name further
files, and the libraries behind paretune open what is named. Everything that is named is therefore
looked at first, where the user names a model and again in the worker before a run-time is handed
the folder. Imports nothing heavy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from paretune.core.errors import UsageError
from paretune.core.folders import _stays, check_entry
from paretune.core.jsontools import Json, read_model_json
from paretune.models.files import candidates
from paretune.models.onnx_files import external_files
from paretune.models.pickles import CONVERT_ADAPTER, CONVERT_MODEL, pickled

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_INDEX_SUFFIX = ".safetensors.index.json"
ADAPTER = "adapter_model.safetensors"
_MAX_INDEX_BYTES = 64 << 20

_STAY_INSIDE = (
    "Models may not reach outside of their folder: copy the file into it, or the whole folder with "
    "what its links lead to: cp -rL FOLDER COPY."
)
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


def check_model(folder: Path) -> set[Path]:
    """Refuse a model folder that names files outside of it, or has pickled weights only.

    Args:
        folder: A model folder of any kind.

    Returns:
        The files that it names, beside those that each model of its kind has.

    Raises:
        UsageError: Says which file names what, or how to convert the weights.
    """
    root = folder.resolve()
    files = list(candidates(folder))
    for path in files:
        check_entry(path, root)
    if (folder / "genai_config.json").is_file():
        named = _named_by_genai(folder, read_model_json(folder / "genai_config.json"))
        tokenizers = [path for path in files if path.name in _TOKENIZER_FILES]
        named = named.union(*map(_named_by_tokenizer, tokenizers))
        return named.union(*map(_named_by_onnx, (p for p in files if p.suffix == ".onnx")))
    if (folder / "adapter_config.json").is_file():
        return _named_by_adapter(folder)
    if (folder / "config.json").is_file():
        return _named_by_hugging_face(folder)
    return set().union(*map(_named_by_onnx, folder.glob("*.onnx")))


def inside(folder: Path, name: Json, where: str, *, or_folder: bool = False) -> Path:
    """Return the file that a model names; it must be there, in the model's own folder.

    Args:
        folder: The model's folder.
        name: What the model says.
        where: Which file of the model says it, and where.
        or_folder: It may be a folder, too.

    Raises:
        UsageError: It leads out, by ``..``, as an absolute path or through a link; or is missing.
    """
    if not isinstance(name, str) or not name or _leads_out(name):
        raise UsageError(
            f"{where} names {_shown(name)}, expected a file in the model's folder",
            hint=_STAY_INSIDE,
        )
    path = folder / name
    if not _stays(path, folder.resolve()):
        raise UsageError(
            f"{where} names {_shown(name)}, a link that leads out of the model's folder",
            hint=_STAY_INSIDE,
        )
    if not (_is(path.is_file) or (or_folder and _is(path.is_dir))):
        raise UsageError(
            f"{where} names {_shown(name)}, and there is no such file",
            hint="Is the model complete?",
        )
    return path


def _named_by_onnx(file: Path) -> set[Path]:
    """Return the files that hold an ONNX model's weights: they lie in its own folder."""
    where = f"{file}: external data"
    return {inside(file.parent, name, where) for name in external_files(file)}


def _named_by_tokenizer(file: Path) -> set[Path]:
    """Return the vocabulary that ONNX Runtime GenAI reads where a tokenizer names one."""
    name = read_model_json(file).get("tiktoken_file")
    return {inside(file.parent, name, f"{file}: tiktoken_file")} if name else set()


def _named_by_adapter(folder: Path) -> set[Path]:
    if not (folder / ADAPTER).is_file():
        raise UsageError(
            f"adapter {str(folder)!r}: expected weights in {ADAPTER}, found {_found(folder)}",
            hint=CONVERT_ADAPTER,
        )
    return set()


def _named_by_hugging_face(folder: Path) -> set[Path]:
    file = folder / "config.json"
    named, indices = set(), {folder / INDEX}
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
            f"model {str(folder)!r}: expected weights in {WEIGHTS} or {INDEX}, "
            f"found {_found(folder)}",
            hint=CONVERT_MODEL,
        )
    return named


def _shard(folder: Path, name: Json, where: str) -> Path:
    """Return a file of weights; loaders would take any but safetensors for a pickle."""
    path = inside(folder, name, where)
    if path.suffix != ".safetensors":
        raise UsageError(
            f"{where} names {_shown(name)}, expected a .safetensors file", hint=CONVERT_MODEL
        )
    return path


def _found(folder: Path) -> str:
    names = pickled(folder)
    return f"only pickled ones ({', '.join(names)})" if names else "none"


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
                    f"{where}: {_shown(value)} is refused: a model's settings may not load a "
                    "library, nor read or write further files",
                    hint=f"Remove {key!r} from the file.",
                )
        elif names_a_file:
            found = inside(folder, value, where, or_folder=bool(words & _FOLDER))
            named.add(found)
            if key.endswith("filename") and key not in _NOT_ONNX:
                named |= _named_by_onnx(found)
    return named


def _is_plain(option: str, value: Json) -> bool:
    """Return whether an option's value can be no path."""
    if not isinstance(value, str):
        return True
    if "." in option:
        return _NUMBERS.fullmatch(value) is not None
    return not re.search(r"[/\\]", value) and not _leads_out(value)


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


def _leads_out(name: str) -> bool:
    """Return whether a name is an absolute path or goes up, on this system or on another."""
    windows = PureWindowsPath(name)
    parts = {*PurePosixPath(name).parts, *windows.parts}
    return bool(windows.anchor) or name.startswith("/") or ".." in parts or "\0" in name


def _is(kind: Callable[[], bool]) -> bool:
    """Return whether a path is there and of a kind; a name that is too long is no path."""
    try:
        return kind()
    except OSError:
        return False


def _shown(name: Json) -> str:
    text = repr(name)
    return text if len(text) <= 80 else text[:77] + "..."
