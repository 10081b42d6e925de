"""All checks of a Hugging Face folder before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from paretune.core.jsontools import read_model_json
from paretune.models.checks.finding import Finding
from paretune.models.checks.quantized import check_dtypes, check_method
from paretune.models.checks.token_ids import check_token_ids
from paretune.models.checks.vocabulary import read_vocabulary
from paretune.models.checks.weights import (
    Tensors,
    check_pointers,
    check_tensors,
    embedding_rows,
)
from paretune.models.safetensors_files import safetensors_header, weights_files


def check_folder(folder: Path, *, generates: bool = True) -> tuple[Finding, ...]:
    """Check a Hugging Face model's files.

    Args:
        folder: With ``config.json`` and safetensors.
        generates: Whether it continues a text: its special tokens then matter.

    Returns:
        What was found, the fatal first.

    Raises:
        UsageError: One of the files cannot be read as what it should be.
    """
    # Nothing else can be read where there are pointers in place of files.
    found = list(check_pointers(folder)) or list(_look(folder, generates))
    return tuple(sorted(found, key=lambda finding: not finding.fatal))


def _look(folder: Path, generates: bool) -> Iterator[Finding]:
    config = read_model_json(folder / "config.json")
    files: dict[str, Tensors] = {f.name: safetensors_header(f) for f in weights_files(folder)}
    yield from check_tensors(folder, files)
    yield from check_method(folder, config)
    yield from check_dtypes(folder, config, files)
    said = config.get("vocab_size")
    if said is None and isinstance(config.get("text_config"), dict):
        said = config["text_config"].get("vocab_size")
    measured = embedding_rows(files)
    if measured is not None:
        rows, place = measured
        if type(said) is int and said != rows and "quantization_config" not in config:
            yield Finding(
                f"{folder / 'config.json'}: vocab_size is {said}, and the embedding has {rows} "
                f"rows ({place})",
                f"Set vocab_size to {rows} if the weights are the right ones.",
            )
            return
    elif type(said) is int and said > 0:
        rows, place = said, "vocab_size in config.json"
    else:
        return
    if generates:
        yield from check_token_ids(folder, rows, place, read_vocabulary(folder))
