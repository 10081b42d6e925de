"""Models from the Hugging Face hub: fetched once, and only if the network is allowed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from paretune.core.errors import StateError, UsageError
from paretune.core.jsontools import read_json, write_json
from paretune.core.permissions import Permissions
from paretune.core.user_paths import default_store
from paretune.models.files import names_code

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# What a model is read from. No pickles, and no code: neither is ever needed.
FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.onnx", "*.onnx.data")
CODE = ("*.py",)
_WITH_CODE = (*FILES, *CODE)


def is_hub_name(name: str) -> bool:
    """Return whether a text has the form of a model's name on the hub: ``organisation/name``."""
    return _NAME.fullmatch(name) is not None


def fetch_model(name: str, permissions: Permissions) -> Path:
    """Return the folder of a hub model; fetched if it is not here yet.

    The files are real ones, not links into a cache: a model may not reach out of its folder.

    Args:
        name: Such as ``HuggingFaceTB/SmolLM2-135M-Instruct``.
        permissions: Whether it may be fetched, and with its Python files.

    Raises:
        UsageError: The network is off, or there is no such model.
    """
    try:
        place = default_store() / "hub" / name.replace("/", "--")
    except StateError as error:
        raise UsageError(
            f"model {name!r} is not a folder here, and {error.message}", hint=error.hint
        ) from error
    done = place.with_name(f"{place.name}.complete")
    wanted: tuple[str, ...] = _WITH_CODE if permissions.remote_code else FILES
    revision: str | None = None
    if done.is_file() and (place / "config.json").is_file():
        has_code, revision = _fetched(done)
        if has_code or not permissions.remote_code or not names_code(place):
            return place
        if not permissions.network:
            raise UsageError(
                f"model {name!r} names Python files, and was fetched without them",
                hint="Fetch them once: add --allow-network to --trust-remote-code.",
            )
        if revision is not None:
            wanted = CODE
    if not permissions.network:
        raise UsageError(
            f"model {name!r} is not a folder here, and the network is off",
            hint="If it is a model on the Hugging Face hub, allow it with --allow-network.",
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        # Code that comes later is that of the weights that are here.
        same = {} if revision is None else {"revision": revision}
        snapshot_download(name, local_dir=place, allow_patterns=list(wanted), **same)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UsageError(
            f"model {name!r} cannot be fetched: {str(error).splitlines()[0]}",
            hint="Check its name, the network, and for a gated model `hf auth login`.",
        ) from error
    said = {"code": permissions.remote_code, "revision": revision or _revision(place)}
    shutil.rmtree(place / ".cache", ignore_errors=True)  # the hub's own notes are no model files
    write_json(done, said)
    return place


def _fetched(done: Path) -> tuple[bool, str | None]:
    """Return whether code was fetched too, and the revision; the first of these files are empty."""
    try:
        said = read_json(done)
        return bool(said["code"]), said["revision"]
    except (KeyError, TypeError, ValueError):
        return False, None


def _revision(place: Path) -> str | None:
    """Return the commit that the hub's notes say the files are of; None if they do not agree."""
    found = set()
    for note in (place / ".cache" / "huggingface" / "download").rglob("*.metadata"):
        found.add(note.read_text(encoding="utf-8").partition("\n")[0].strip())
    return found.pop() if len(found) == 1 else None
