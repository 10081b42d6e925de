"""Pre-processing of a row: a transformers processor's folder, or a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from paretune.core.errors import DataError, UsageError
from paretune.core.file_functions import file_of, function_of, names_function, require_trust
from paretune.core.packages import check_installed
from paretune.core.permissions import Permissions
from paretune.data.cells import Cell
from paretune.data.spec import DataSpec
from paretune.models.hub import fetch_model, is_hub_name

Process = Callable[[Mapping[str, Cell]], Mapping[str, Any]]
"""Takes a row's cells by column; returns arrays by input of the network, without a batch axis."""

_DESCRIBING = frozenset({".json", ".txt", ".model", ".py"})
_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "tokenizer.model")
_ENDLESS = 1 << 20
"""A tokenizer that says more than this does not know how much the model takes."""


def process_of(spec: DataSpec, root: Path, permissions: Permissions) -> Process:
    """Return what turns a row into the network's inputs.

    Args:
        spec: A data set of arrays.
        root: Where relative paths start.
        permissions: Whether code that the configuration names may run, and whether a processor may
            be fetched from the hub.

    Raises:
        DataError: There is no such folder or function, the function may not run, or nothing in the
            folder takes a column.
    """
    if spec.process is None:
        return _as_they_are(spec)
    if names_function(spec.process):
        try:
            require_trust(spec.process, "process", permissions.remote_code)
            function = function_of(spec.process, root, "process")
        except UsageError as error:  # as one of the data, which is told with the data set's name
            raise DataError(error.message, hint=error.hint) from error
        return lambda row: function({column: cell.value for column, cell in row.items()})
    folder = _folder(spec.process, root, permissions)
    if not folder.is_dir():
        raise DataError(
            f"process: no folder {spec.process!r}",
            hint="Expected the folder of a transformers processor or tokenizer, or "
            "file.py:function.",
        )
    return _by_transformers(spec, folder)


def files_of_process(spec: DataSpec, root: Path, permissions: Permissions) -> tuple[Path, ...]:
    """Return the files that pre-processing reads; none where there is none.

    Args:
        spec: A data set.
        root: Where relative paths start.
        permissions: Whether a processor may be fetched from the hub.

    Raises:
        UsageError: It is on the hub, and the network is off.
    """
    if spec.process is None:
        return ()
    path = _folder(file_of(spec.process), root, permissions)
    inside = sorted(path.iterdir()) if path.is_dir() else [path]
    # A folder may be a model's: of it only what describes the pre-processing counts.
    return tuple(p for p in inside if p.is_file() and p.suffix in _DESCRIBING)


def _folder(name: str, root: Path, permissions: Permissions) -> Path:
    """Return a path as it is given, else the folder of a model on the hub."""
    path = root / name
    if not path.exists() and is_hub_name(name):
        return fetch_model(name, replace(permissions, remote_code=False))
    return path


def _as_they_are(spec: DataSpec) -> Process:
    columns = spec.inputs or {}
    return lambda row: {name: row[column].value for name, column in columns.items()}


def _by_transformers(spec: DataSpec, folder: Path) -> Process:
    check_installed("process", ("transformers",))
    wanted = tuple(spec.inputs or {})
    by_kind: dict[str, list[str]] = {}
    for column, how in spec.readings.items():
        by_kind.setdefault(how, []).append(column)
    if "array" in by_kind:
        raise DataError(
            f"process: column {by_kind['array'][0]!r} is read as an array, which no processor of "
            "transformers takes",
            hint="Say `read: {COLUMN: image, audio or text}`, or give a function.",
        )
    steps = [_STEPS[how](folder, columns) for how, columns in by_kind.items()]

    def process(row: Mapping[str, Cell]) -> Mapping[str, Any]:
        made: dict[str, Any] = {}
        for step in steps:
            made |= {name: value[0] for name, value in step(row).items()}
        lacking = [name for name in wanted if name not in made]
        if lacking:
            raise DataError(
                f"the processor in {folder} makes no {lacking[0]!r}",
                hint=f"It makes {', '.join(sorted(made))}: name these under `inputs`.",
            )
        return {name: made[name] for name in wanted}

    return process


def _loaded(folder: Path, what: str, files: Sequence[str], load: Callable[[], Any]) -> Any:
    # First: the library takes seconds to import, and tells of the hub where a file is missing.
    if not any((folder / name).is_file() for name in files):
        raise DataError(
            f"process: {folder} has no {what}: none of {', '.join(files)}",
            hint="Save it there by `save_pretrained`.",
        )
    try:
        return load()
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise DataError(
            f"process: {folder} has no {what} that loads: {str(error).strip().splitlines()[0]}",
            hint="Save it there by `save_pretrained`.",
        ) from error


def _images(folder: Path, columns: Sequence[str]) -> Process:
    check_installed("process", ("pillow",))

    def load() -> Any:
        from transformers import AutoImageProcessor

        # Torchvision's build has to fit PyTorch's exactly; Pillow alone does the same.
        return AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)

    processor = _loaded(folder, "image processor", _PROCESSOR_FILES, load)
    return lambda row: processor([_only(row, columns, "image").value], return_tensors="np")


def _sounds(folder: Path, columns: Sequence[str]) -> Process:
    def load() -> Any:
        from transformers import AutoFeatureExtractor

        return AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)

    extractor = _loaded(folder, "feature extractor", _PROCESSOR_FILES, load)

    def extract(row: Mapping[str, Cell]) -> Mapping[str, Any]:
        cell = _only(row, columns, "sound")
        made: Mapping[str, Any] = extractor(
            [cell.value], sampling_rate=cell.rate, return_tensors="np"
        )
        return made

    return extract


def _texts(folder: Path, columns: Sequence[str]) -> Process:
    def load() -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder, local_files_only=True)

    tokenizer = _loaded(folder, "tokenizer", _TOKENIZER_FILES, load)
    if len(columns) > 2:
        raise DataError(
            f"process: a tokenizer takes one text or two, found the columns {', '.join(columns)}",
            hint="Join them in a column of their own, or give a function.",
        )
    cut = tokenizer.model_max_length < _ENDLESS

    def tokens(row: Mapping[str, Cell]) -> Mapping[str, Any]:
        texts = [[row[column].value] for column in columns]
        made: Mapping[str, Any] = tokenizer(*texts, truncation=cut, return_tensors="np")
        return made

    return tokens


def _only(row: Mapping[str, Cell], columns: Sequence[str], what: str) -> Cell:
    if len(columns) > 1:
        raise DataError(
            f"process: a processor takes one {what}, found the columns {', '.join(columns)}",
            hint="Give a function that takes several.",
        )
    return row[columns[0]]


_STEPS: dict[str, Callable[[Path, Sequence[str]], Process]] = {
    "image": _images,
    "audio": _sounds,
    "text": _texts,
}
