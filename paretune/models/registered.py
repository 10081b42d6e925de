"""Models that are registered in Azure Machine Learning: copied once, if the network is allowed."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from paretune.azure.addresses import model_address
from paretune.azure.copies import Shown
from paretune.azure.workspace import Workspace
from paretune.core.errors import UsageError
from paretune.core.permissions import Permissions
from paretune.models.hub import CODE, FILES
from paretune.models.kinds.base import kind_of
from paretune.models.mlflow import MLMODEL, is_mlflow

_FILES = (*FILES, MLMODEL)


def fetch_registered(
    name: str,
    permissions: Permissions,
    workspace: Workspace | None,
    place: Path,
    shown: Shown,
) -> Path:
    """Return the folder of a registered model; copied if it is not here yet.

    Args:
        name: Its address.
        permissions: Whether it is copied with its Python files.
        workspace: That of the study, for an address that names none.
        place: Takes it.
        shown: Is called as it arrives.

    Raises:
        CredentialsError: It may not be read.
        UsageError: The address is wrong, there is no such model, or none of its files is read.
        TransientError: The service is not reached.
    """
    try:
        address = model_address(name)
    except ValueError as error:
        raise UsageError(f"model {name!r}: {error}") from error
    from paretune.azure.copies import copied
    from paretune.azure.registered import model_files

    source, blobs = model_files(address, workspace)
    patterns = (*_FILES, *CODE) if permissions.remote_code else _FILES
    wanted = {
        file: blob
        for file, blob in blobs.items()
        if any(fnmatch(file.rpartition("/")[2], pattern) for pattern in patterns)
    }
    if not wanted:
        raise UsageError(
            f"model {name!r} has no files that are read, among {len(blobs)}, such as "
            f"{min(blobs)!r}",
            hint="Pickled weights are never read: register a folder with *.safetensors.",
        )
    folder = copied(source, wanted, place, shown)
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and is_mlflow(path)]
    if len(inner) == 1 and kind_of(folder) is None and not is_mlflow(folder):
        return inner[0]
    return folder
