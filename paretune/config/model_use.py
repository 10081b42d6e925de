"""Checks a configuration's model by its files: an adapter's base, and errors."""

from __future__ import annotations

from pathlib import Path

from paretune.config.yaml_source import Wrong
from paretune.core.errors import UsageError
from paretune.core.permissions import Permissions
from paretune.models.checks import check_pointers
from paretune.models.containment import check_model
from paretune.models.handle import detect_kind
from paretune.models.kinds.base import kind_named

_KEY = ("model",)


def base_model(model: Path, root: Path, wrong: Wrong, permissions: Permissions) -> Path | None:
    """Return the folder of an adapter's base; None if the model is not an adapter or has no base.

    Args:
        model: The input model's folder.
        root: The configuration's folder.
        wrong: Called if an adapter's base cannot be found or used.
        permissions: Whether the base may be fetched from the hub, and with its Python files.
    """
    try:
        return kind_named(detect_kind(model)).base(model, root, permissions)
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
            if base is not None:
                found += kind_named(detect_kind(base)).problems(base, None)
            found += kind_named(detect_kind(model)).problems(model, base)
    except UsageError as error:
        wrong(_KEY, error.message, error.hint)
        return ()
    for finding in found:
        if finding.fatal:
            wrong(_KEY, finding.message, finding.hint)
    return tuple(finding.text for finding in found if not finding.fatal)
