"""What an encoder or a vision model of Hugging Face is for, by ``architectures`` of config.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from paretune.core.errors import UsageError
from paretune.core.jsontools import Json, read_model_json
from paretune.models.safetensors_files import is_count


@dataclass(frozen=True)
class Task:
    """A task, and how transformers names it.

    Attributes:
        name: As pipelines of transformers call it.
        suffix: How the names of its architectures end.
        auto: The class of transformers that loads them.
        outputs: Names of what its models give; empty: they differ.
    """

    name: str
    suffix: str
    auto: str
    outputs: tuple[str, ...] = ("logits",)


TASKS = (
    Task("text-classification", "ForSequenceClassification", "AutoModelForSequenceClassification"),
    Task("token-classification", "ForTokenClassification", "AutoModelForTokenClassification"),
    Task(
        "question-answering",
        "ForQuestionAnswering",
        "AutoModelForQuestionAnswering",
        (),
    ),
    Task("fill-mask", "ForMaskedLM", "AutoModelForMaskedLM"),
    Task("image-classification", "ForImageClassification", "AutoModelForImageClassification"),
    Task("feature-extraction", "Model", "AutoModel", ()),
)
_HEADS = ("HeadModel", "HeadsModel", "EncoderDecoderModel")
"""Ends of names that have a head, or two networks, and no suffix that says so."""


def task_of(config: Json) -> Task | None:
    """Return the task of an encoder or a vision model; None: it is another model.

    Args:
        config: The content of its config.json.
    """
    named = config.get("architectures") if isinstance(config, dict) else None
    first = named[0] if isinstance(named, list) and named else None
    if not isinstance(first, str) or first.endswith(_HEADS):
        return None
    return next((task for task in TASKS if first.endswith(task.suffix)), None)


def folder_task(folder: Path) -> Task | None:
    """Return the task of the model in a Hugging Face folder; None: another model, or unreadable."""
    file = folder / "config.json"
    try:
        return task_of(read_model_json(file)) if file.is_file() else None
    except UsageError:  # what is wrong with the file is said where it is read
        return None


def integer_limits(folder: Path) -> dict[str, int]:
    """Return what the integers that a Hugging Face model takes are below, by input.

    Raises:
        UsageError: Its configuration cannot be read.
    """
    config = read_model_json(folder / "config.json")
    said = {"input_ids": "vocab_size", "token_type_ids": "type_vocab_size"}
    return {
        name: config[key] for name, key in said.items() if is_count(config.get(key)) and config[key]
    }
