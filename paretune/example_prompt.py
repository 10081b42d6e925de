"""The example prompt of a study, which ``sample.py`` in a package runs with.

``STUDY/example.json`` holds it from the study's start on, so that a package that is picked later,
elsewhere or without the data, has it too::

    {"prompt": "### Text: ...", "chat": false}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from paretune.errors import ParetuneError
from paretune.jsontools import Json, read_json, write_json

if TYPE_CHECKING:
    from paretune.data import DataCatalog

FILE = "example.json"
GENERAL = ("Once upon a time", False)
"""What is taken where no data set has a prompt."""


def first_prompt(references: Iterable[str], catalog: DataCatalog) -> tuple[str, bool]:
    """Return the first prompt of the data that is measured on, and whether it is a chat's.

    Args:
        references: The data sets that evaluators read, in configured order.
        catalog: Where they are.
    """
    for ref in references:
        data = catalog.load(ref)
        if data.examples and data.examples[0].prompt:
            return data.examples[0].prompt, data.chat
    return GENERAL


def keep_example(study: Path, example: tuple[str, bool]) -> None:
    """Write a study's example prompt beside what the study is about."""
    prompt, chat = example
    write_json(study / FILE, {"prompt": prompt, "chat": chat}, durable=False)


def example_of(study: Path, resolved: Mapping[str, Json]) -> tuple[str, bool]:
    """Return the example prompt of a study on disk.

    A study of an earlier version has no such file: its data is read, if it is still there.

    Args:
        study: Its folder.
        resolved: Its resolved configuration.
    """
    try:
        kept = read_json(study / FILE)
        return str(kept["prompt"]), bool(kept["chat"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        return first_prompt(*_data_of(resolved))
    except (ParetuneError, OSError, ValueError, KeyError, TypeError):
        return GENERAL


def _data_of(resolved: Mapping[str, Json]) -> tuple[list[str], DataCatalog]:
    from paretune.data import DataCatalog, DataSpec
    from paretune.registry import find_evaluator

    specs = {name: DataSpec.model_validate(spec) for name, spec in resolved["data"].items()}
    found: list[str] = []
    for entry in resolved["evaluate"]:
        ((name, params),) = entry.items() if isinstance(entry, dict) else ((entry, {}),)
        kind = find_evaluator(name)
        found += kind(kind.Params(**params)).data
    return found, DataCatalog(specs, Path("."))
