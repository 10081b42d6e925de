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

from paretune.errors import UsageError
from paretune.jsontools import Json, read_model_json
from paretune.onnx_files import external_files
from paretune.pickles import CONVERT_ADAPTER, CONVERT_MODEL, pickled

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_model.safetensors"
_MOST_INDEX_BYTES = 64 << 20

_STAY_INSIDE = "Models may not reach outside of their folder: copy the file into it."
# Words of a key that say that its value names a file or a folder: `filename`, `data_file`,
# `tokenizer_dir`, `ep.context_file_path`, `custom_ops_library`, and `enable_profiling` (of what it
# writes, the beginning of its name).
_FILE = frozenset({"file", "files", "filename", "path", "library", "profiling"})
_FOLDER = frozenset({"dir", "folder", "root"})
_OPTIONS = frozenset({"session_options", "run_options", "provider_options"})
# Files of a GenAI model that are named like the others, and are no ONNX models.
_NOT_ONNX = frozenset({"config_filename", "adapter_filename"})


def check_model(folder: Path) -> None:
    """Refuse a model folder that names files outside of it, or has pickled weights only.

    Args:
        folder: A model folder of any kind.

    Raises:
        UsageError: Says which file names what, or how to convert the weights.
    """
    root = folder.resolve()
    for path in folder.rglob("*"):
        check_link(path, root)
    if (folder / "genai_config.json").is_file():
        _check_genai(folder, read_model_json(folder / "genai_config.json"))
        for file in folder.rglob("*.onnx"):
            onnx_weights(file)
    elif (folder / "adapter_config.json").is_file():
        check_adapter(folder)
    elif (folder / "config.json").is_file():
        _check_hugging_face(folder)
    else:
        for file in folder.glob("*.onnx"):
            onnx_weights(file)


def check_link(path: Path, root: Path) -> None:
    """Refuse a link that leads out of a model's folder, or that stands for a folder.

    Args:
        path: A file or folder in the model.
        root: The model's folder, resolved.

    Raises:
        UsageError: It is such a link.
    """
    if not path.is_symlink():
        return
    if not _stays(path, root):
        raise UsageError(
            f"{path} is a link that leads out of its model's folder", hint=_STAY_INSIDE
        )
    if path.is_dir():  # what is below it would be neither hashed nor copied
        raise UsageError(f"{path} is a link to a folder", hint="Put the folder itself there.")


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


def onnx_weights(file: Path) -> list[Path]:
    """Return the files that hold an ONNX model's weights, beside itself.

    Raises:
        UsageError: It names one outside of its folder, or is no ONNX file.
    """
    return [inside(file.parent, name, f"{file}: external data") for name in external_files(file)]


def check_adapter(folder: Path) -> None:
    """Refuse an adapter without safetensors, before any library looks for another file.

    Raises:
        UsageError: Says how to convert the weights.
    """
    if not (folder / ADAPTER).is_file():
        raise UsageError(
            f"adapter {str(folder)!r}: expected weights in {ADAPTER}, found {_found(folder)}",
            hint=CONVERT_ADAPTER,
        )


def _check_hugging_face(folder: Path) -> None:
    config = read_model_json(folder / "config.json")
    named = config.get("transformers_weights")  # takes precedence over the usual names
    if named is not None:
        _shard(folder, named, f"{folder / 'config.json'}: transformers_weights")
    if (folder / INDEX).is_file():
        weights = read_model_json(folder / INDEX, most_bytes=_MOST_INDEX_BYTES).get("weight_map")
        if not isinstance(weights, dict):
            raise UsageError(
                f"{folder / INDEX}: expected a weight_map", hint="Is the model complete?"
            )
        for name in sorted(set(map(str, weights.values()))):
            _shard(folder, name, f"{folder / INDEX}: weight_map")
    elif named is None and not (folder / WEIGHTS).is_file():
        # Other names of safetensors do not count: loaders would go on and look for a pickle.
        raise UsageError(
            f"model {str(folder)!r}: expected weights in {WEIGHTS} or {INDEX}, "
            f"found {_found(folder)}",
            hint=CONVERT_MODEL,
        )


def _shard(folder: Path, name: Json, where: str) -> None:
    """Refuse what is no safetensors file in the folder: loaders take any other for a pickle."""
    path = inside(folder, name, where)
    if path.suffix != ".safetensors" and not path.name.endswith(".safetensors.index.json"):
        raise UsageError(
            f"{where} names {_shown(name)}, expected a .safetensors file", hint=CONVERT_MODEL
        )


def _found(folder: Path) -> str:
    names = pickled(folder)
    return f"only pickled ones ({', '.join(names)})" if names else "none"


def _check_genai(folder: Path, config: dict[str, Json]) -> None:
    """Refuse a GenAI configuration that leads out, writes, or loads a library."""
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
        if not _OPTIONS.isdisjoint(keys):
            leads_out = isinstance(value, str) and _leads_out(value)
            if value and (leads_out or words & (_FILE | _FOLDER)):
                raise UsageError(
                    f"{where}: {_shown(value)} is refused: a model's settings may not load a "
                    "library, nor read or write further files",
                    hint=f"Remove {key!r} from the file.",
                )
        elif value not in (None, "") and words & (_FILE | _FOLDER):
            found = inside(folder, value, where, or_folder=bool(words & _FOLDER))
            if key.endswith("filename") and key not in _NOT_ONNX:
                onnx_weights(found)


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


def _stays(path: Path, root: Path) -> bool:
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # links in a circle
        return False


def _is(kind: Callable[[], bool]) -> bool:
    """Return whether a path is there and of a kind; a name that is too long is no path."""
    try:
        return kind()
    except OSError:
        return False


def _shown(name: Json) -> str:
    text = repr(name)
    return text if len(text) <= 80 else text[:77] + "..."
