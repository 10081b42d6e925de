"""Finds a configuration's model: beside the configuration, in the working folder, or on the hub."""

from __future__ import annotations

from pathlib import Path

from paretune.core.errors import UsageError
from paretune.core.permissions import Permissions
from paretune.core.user_paths import expanded
from paretune.models.handle import detect_kind
from paretune.models.hub import fetch_model, is_hub_name


def find_model(name: str, root: Path, permissions: Permissions = Permissions()) -> Path:
    """Return the folder of a model.

    Args:
        name: As configured: a path, or a name on the Hugging Face hub.
        root: The configuration's folder, where relative paths start.
        permissions: Whether it may be fetched from the hub, and with its Python files.

    Raises:
        UsageError: There is no such model, or it is not of a known kind.
    """
    named = expanded(name)
    places = [root / named, Path(named)]
    for place in places:
        if _is_folder(place):
            detect_kind(place)
            return place
    looked = " and ".join(dict.fromkeys(repr(str(place)) for place in places))
    if not is_hub_name(name):
        raise UsageError(
            f"no model folder {name!r} (looked for {looked})",
            hint="Give a folder with config.json and *.safetensors.",
        )
    try:
        return fetch_model(name, permissions)
    except UsageError as error:
        raise UsageError(
            f"no model folder {name!r} (looked for {looked}): {error.message}", hint=error.hint
        ) from error


def _is_folder(place: Path) -> bool:
    try:
        return place.is_dir()
    except (OSError, ValueError):  # a name that no file can have
        return False
