"""The example prompt of a study, which ``sample.py`` in a package runs with.

``STUDY/example.json`` holds it from the study's start on, so that a package that is picked later,
elsewhere or without the data, has it too::

    {"prompt": "### Text: ...", "chat": false}

Of a conversation it also holds the turns before the prompt (``before``), and whose turn the prompt
is (``role``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from paretune.core.errors import ParetuneError
from paretune.core.jsontools import Json, read_json, write_json

if TYPE_CHECKING:
    from paretune.data.catalog import DataCatalog

FILE = "example.json"


class ExamplePrompt(NamedTuple):
    """What a package's program is given when it is started without a prompt.

    Attributes:
        prompt: The text.
        chat: Whether it goes through the model's chat template.
        before: Turns of a conversation before it, as ``{"role", "content"}``.
        role: Whose turn the prompt is.
    """

    prompt: str
    chat: bool
    before: tuple[Mapping[str, str], ...] = ()
    role: str = "user"


GENERAL = ExamplePrompt("Once upon a time", False)
"""What is taken where no data set has a prompt."""


def first_prompt(references: Iterable[str], catalog: DataCatalog) -> ExamplePrompt:
    """Return the first prompt of the data that is measured on.

    Args:
        references: The data sets that evaluators read, in configured order.
        catalog: Where they are.
    """
    for ref in references:
        if catalog.is_arrays(ref):
            continue
        data = catalog.load(ref)
        if data.examples and data.examples[0].prompt:
            first = data.examples[0]
            if not first.turns:
                return ExamplePrompt(first.prompt, data.chat)
            *before, last = first.turns[:-1]
            return ExamplePrompt(
                last.content, True, tuple(turn.to_json() for turn in before), last.role
            )
    return GENERAL


def keep_example(study: Path, example: ExamplePrompt) -> None:
    """Write a study's example prompt beside what the study is about."""
    content: dict[str, Json] = {"prompt": example.prompt, "chat": example.chat}
    if example.before or example.role != "user":
        content |= {"before": [dict(turn) for turn in example.before], "role": example.role}
    write_json(study / FILE, content, durable=False)


def example_of(study: Path, resolved: Mapping[str, Json]) -> ExamplePrompt:
    """Return the example prompt of a study on disk.

    A study of an earlier version has no such file: its data is read, if it is still there.

    Args:
        study: Its folder.
        resolved: Its resolved configuration.
    """
    try:
        kept = read_json(study / FILE)
        before = tuple(
            {"role": str(turn["role"]), "content": str(turn["content"])}
            for turn in kept.get("before", ())
        )
        role = str(kept.get("role", "user"))
        return ExamplePrompt(str(kept["prompt"]), bool(kept["chat"]), before, role)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        return first_prompt(*_data_of(resolved))
    except (ParetuneError, OSError, ValueError, KeyError, TypeError):
        return GENERAL


def _data_of(resolved: Mapping[str, Json]) -> tuple[list[str], DataCatalog]:
    from paretune.data.catalog import DataCatalog, DataSpec
    from paretune.registry import find_evaluator

    specs = {name: DataSpec.model_validate(spec) for name, spec in resolved["data"].items()}
    found: list[str] = []
    for entry in resolved["evaluate"]:
        ((name, params),) = entry.items() if isinstance(entry, dict) else ((entry, {}),)
        kind = find_evaluator(name)
        found += kind(kind.Params(**params)).data
    return found, DataCatalog(specs, Path("."))
