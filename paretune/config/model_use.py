"""Checks a configuration's model by its files: an adapter's base, and errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from paretune.core.errors import UsageError
from paretune.core.model import ModelKind
from paretune.core.permissions import Permissions
from paretune.models.adapter_input import base_of, check_adapter
from paretune.models.checks import check_folder, check_pointers
from paretune.models.containment import check_model
from paretune.models.handle import detect_kind
from paretune.models.onnx_files import network_file

Wrong = Callable[..., None]
"""Takes a key's path, what is wrong, and what to do."""
_KEY = ("model",)


def base_model(model: Path, root: Path, wrong: Wrong, permissions: Permissions) -> Path | None:
    """Return the folder of an adapter's base; None if the model is not an adapter or has no base.

    Args:
        model: The input model's folder.
        root: The configuration's folder.
        wrong: Called if an adapter's base cannot be found or used.
        permissions: Whether the base may be fetched from the hub, and with its Python files.
    """
    if detect_kind(model) is not ModelKind.HF_ADAPTER:
        return None
    try:
        return base_of(model, root, permissions)
    except UsageError as error:
        wrong(_KEY, error.message, error.hint)
        return None


def look_at_model(model: Path, base: Path | None, wrong: Wrong) -> tuple[str, ...]:
    """Check the files of the input model, and of its base if it is an adapter.

    Args:
        model: The input model's folder.
        base: The base's folder.
        wrong: Called with each error.

    Returns:
        Notes.
    """
    folders = [folder for folder in (base, model) if folder is not None]
    try:
        found = [finding for folder in folders for finding in check_pointers(folder)]
        if not found:
            for folder in folders:
                check_model(folder)
            if detect_kind(folders[0]) is ModelKind.HF:
                found += check_folder(folders[0])
            if detect_kind(folders[0]) is ModelKind.ONNX:
                network_file(folders[0])
            if base is not None:
                found += check_adapter(model, base)
    except UsageError as error:
        wrong(_KEY, error.message, error.hint)
        return ()
    for finding in found:
        if finding.fatal:
            wrong(_KEY, finding.message, finding.hint)
    return tuple(finding.text for finding in found if not finding.fatal)
