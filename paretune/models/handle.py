"""Model handles: a folder with a kind and a content digest, and what its headers show.

Nothing here imports torch or onnxruntime: safetensors headers and JSON files are read directly.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from paretune.core.errors import UsageError
from paretune.core.folders import folder_files
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.stamps import joint_digest, take_all
from paretune.models.containment import check_model
from paretune.models.files import candidates, whole
from paretune.models.kinds.base import kind_named, kind_of
from paretune.models.pickles import how_to_convert, pickled


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
        UsageError: There is no such folder, or it is not a model that paretune knows.
    """
    if not folder.is_dir():
        raise UsageError(
            f"model {str(folder)!r}: no such folder",
            hint="Give the path of a model folder: Hugging Face (config.json and safetensors), or "
            "ONNX Runtime GenAI (genai_config.json).",
        )
    kind = kind_of(folder)
    if kind is not None:
        return ModelKind(kind.name)
    names = pickled(folder)
    if names:
        raise UsageError(
            f"model {str(folder)!r}: expected a model folder, found pickled weights "
            f"({', '.join(names)}), which are never read: a pickle runs the code that it names",
            hint=how_to_convert(names),
        )
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


def inspect(folder: Path, base: Path | None = None) -> ModelInfo:
    """Read a model folder's configuration and headers; loads no weights.

    Args:
        folder: A model folder of any kind.
        base: For an adapter, the folder of the model that it was trained on.

    Returns:
        What could be read; unknown fields keep their defaults.

    Raises:
        UsageError: One of the files is damaged.
    """
    size = sum(path.stat().st_size for path in candidates(folder) if path.is_file())
    return kind_named(detect_kind(folder)).inspect(folder, size, base)


def vocabulary_of(model: Model) -> int:
    """Return the number of tokens that a model knows; 0 if its folder does not say."""
    decoder = kind_named(model.kind).decoder(model)
    return 0 if decoder is None else decoder.vocabulary
