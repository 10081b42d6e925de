"""The kind ``hf-adapter``: a LoRA adapter as PEFT writes it; its base is a model of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from paretune.core.errors import UsageError
from paretune.core.model import Decoder, Model, ModelInfo
from paretune.core.permissions import Permissions
from paretune.models.adapter_input import base_of, check_adapter, inspect_adapter
from paretune.models.checks.finding import Finding
from paretune.models.containment import ADAPTER
from paretune.models.kinds.base import Kind, kind_named
from paretune.models.pickles import CONVERT_ADAPTER, what_is_there


class HfAdapterKind(Kind):
    """A folder with ``adapter_config.json``; ``config.json`` may lie beside it."""

    name: ClassVar[str] = "hf-adapter"
    folder: ClassVar[str] = "an adapter's folder (with adapter_config.json)"
    shown: ClassVar[str] = "an adapter (kind hf-adapter)"
    needs_base: ClassVar[bool] = True

    def matches(self, folder: Path) -> bool:
        """Return whether it has an adapter's configuration."""
        return (folder / "adapter_config.json").is_file()

    def check(self, folder: Path, files: Sequence[Path]) -> set[Path]:
        """Require its weights; its configuration names no files."""
        del files
        if not (folder / ADAPTER).is_file():
            raise UsageError(
                f"adapter {str(folder)!r}: expected weights in {ADAPTER}, found "
                f"{what_is_there(folder)}",
                hint=CONVERT_ADAPTER,
            )
        return set()

    def base(self, folder: Path, root: Path, permissions: Permissions) -> Path:
        """Return the folder of the model that it was trained on."""
        return base_of(folder, root, permissions)

    def problems(self, folder: Path, base: Path | None) -> Sequence[Finding]:
        """Return which of its tensors reach no part of the base."""
        return [] if base is None else list(check_adapter(folder, base))

    def inspect(self, folder: Path, size: int, base: Path | None = None) -> ModelInfo:
        """Return its base's facts, and what it was made with."""
        return super().inspect(folder, size) if base is None else inspect_adapter(folder, base)

    def decoder(self, model: Model) -> Decoder | None:
        """Return what its base says."""
        base = model.base
        return None if base is None else kind_named(base.kind).decoder(base)
