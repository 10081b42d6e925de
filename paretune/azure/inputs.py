"""Single files in datastores, by their addresses."""

from __future__ import annotations

from pathlib import Path

from paretune.azure.addresses import data_address
from paretune.azure.blobs import Blob, Datastore
from paretune.azure.client import open_client
from paretune.azure.copies import Shown, copied
from paretune.azure.workspace import Workspace
from paretune.core.errors import UsageError


def find_file(address: str, workspace: Workspace | None) -> tuple[Datastore, Blob]:
    """Return a file and the datastore that has it.

    Args:
        address: The file's.
        workspace: That of the study, for an address that names none.

    Raises:
        CredentialsError: It may not be read.
        UsageError: The address is wrong, or there is no such file.
        TransientError: The service is not reached.
    """
    try:
        read = data_address(address)
    except ValueError as error:
        raise UsageError(f"data file {address!r}: {error}") from error
    within = read.workspace or workspace
    if within is None:
        raise UsageError(
            f"data file {address!r}: its workspace is not known",
            hint="Declare a target `azureml` in it, or write the whole address: "
            "azureml://subscriptions/S/resourcegroups/R/workspaces/W/datastores/D/paths/FILE.",
        )
    source = Datastore(open_client(within), read.datastore)
    found = source.find(read.path)
    if found is None:
        raise UsageError(
            f"data file {address!r}: no such file in the datastore {read.datastore!r}",
            hint="Name one file; a folder is not read.",
        )
    return source, found


def copy_file(address: str, workspace: Workspace | None, folder: Path, shown: Shown) -> Path:
    """Return the copy of a file on this machine; copied if it is not here, or is another by now.

    Args:
        address: The file's.
        workspace: That of the study, for an address that names none.
        folder: Takes it.
        shown: Is called as it arrives.

    Raises:
        CredentialsError: It may not be read.
        UsageError: There is no such file, or no room.
        TransientError: The service is not reached; what has arrived is kept.
    """
    source, found = find_file(address, workspace)
    name = found.name.rpartition("/")[2]
    return copied(source, {name: found}, folder, shown) / name
