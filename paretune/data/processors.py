"""Processors and tokenizers of transformers, by what a column holds.

The module is part of a package, too (`paretune.study.raw_rows`): of paretune it imports what is
copied beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paretune.core.errors import DataError
from paretune.data.cells import Cell

Step = Callable[[Mapping[str, Cell]], Mapping[str, Any]]
"""Takes a row's cells by column; returns arrays by name, each with a batch axis."""

_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "tokenizer.model")
_ENDLESS = 1 << 20
"""A tokenizer that says more than this does not know how much the model takes."""


def by_transformers(
    folder: Path, readings: Mapping[str, str], wanted: Sequence[str]
) -> Callable[[Mapping[str, Cell]], Mapping[str, Any]]:
    """Return what turns a row's cells by column into arrays by input, without a batch axis.

    Args:
        folder: Has the files of a processor or tokenizer.
        readings: How each column is read.
        wanted: The inputs that are kept of what is made.

    Raises:
        DataError: Nothing in the folder takes a column, or what is there does not load.
    """
    by_kind: dict[str, list[str]] = {}
    for column, how in readings.items():
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


def _images(folder: Path, columns: Sequence[str]) -> Step:
    def load() -> Any:
        from transformers import AutoImageProcessor

        # Torchvision's build has to fit PyTorch's exactly; Pillow alone does the same.
        return AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)

    processor = _loaded(folder, "image processor", _PROCESSOR_FILES, load)
    return lambda row: processor([_only(row, columns, "image").value], return_tensors="np")


def _sounds(folder: Path, columns: Sequence[str]) -> Step:
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


def _texts(folder: Path, columns: Sequence[str]) -> Step:
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


_STEPS: dict[str, Callable[[Path, Sequence[str]], Step]] = {
    "image": _images,
    "audio": _sounds,
    "text": _texts,
}
