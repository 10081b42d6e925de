"""The kind ``hf-encoder``: a Hugging Face folder of an encoder or a vision model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from paretune.core.jsontools import read_model_json
from paretune.core.model import Decoder, Model
from paretune.models.checks.finding import Finding
from paretune.models.checks.folder import check_folder
from paretune.models.kinds.base import ArrayNames
from paretune.models.kinds.hf import HfKind, is_hugging_face
from paretune.models.tasks import folder_task

_FURTHER = ("output_attentions", "output_hidden_states", "auto_map")
"""Keys that give a model other outputs, or code of its own, which may."""


class HfEncoderKind(HfKind):
    """A checkpoint that takes arrays and gives arrays: it does not continue a text.

    Its ``architectures`` say so (`paretune.models.tasks`).
    """

    name: ClassVar[str] = "hf-encoder"
    folder: ClassVar[str] = (
        "a Hugging Face folder of an encoder or a vision model (by architectures of config.json)"
    )
    shown: ClassVar[str] = "an encoder or a vision model (kind hf-encoder)"

    def matches(self, folder: Path) -> bool:
        """Return whether it is a Hugging Face folder of a task without generation."""
        return is_hugging_face(folder) and folder_task(folder) is not None

    def problems(self, folder: Path, base: Path | None) -> Sequence[Finding]:
        """Return what is wrong with its weights; special tokens end nothing here."""
        del base
        return check_folder(folder, generates=False)

    def array_names(self, folder: Path) -> ArrayNames | None:
        """Return the outputs of its task; None where its configuration asks for further ones."""
        task, config = folder_task(folder), read_model_json(folder / "config.json")
        if task is None or not task.outputs or any(config.get(key) for key in _FURTHER):
            return None
        return ArrayNames(None, task.outputs)

    def decoder(self, model: Model) -> Decoder | None:
        """Return None: it has no tokens that follow each other."""
        del model
        return None
