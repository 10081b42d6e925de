"""The files of registered models, in a registry or in a workspace."""

from __future__ import annotations

from typing import Any

from paretune.azure.addresses import ModelAddress, data_address
from paretune.azure.blobs import Blob, Datastore
from paretune.azure.client import check_sdk, new_credential, open_client
from paretune.azure.failures import explained
from paretune.azure.workspace import Workspace
from paretune.core.errors import UsageError


def model_files(
    address: ModelAddress, workspace: Workspace | None
) -> tuple[Datastore, dict[str, Blob]]:
    """Return where a model's files are, and each by its name below the model's folder.

    Args:
        address: The model's.
        workspace: That of the study, for an address that names none.

    Raises:
        CredentialsError: It may not be read.
        UsageError: There is no such model, or it has no files that can be copied.
        TransientError: The service is not reached.
    """
    source: Datastore
    if address.registry is not None:
        source = RegistryModel(address)
        folder = source.folder
    else:
        within = address.workspace or workspace
        if within is None:
            raise UsageError(
                f"model {str(address)!r}: its workspace is not known",
                hint="Declare a target `azureml` in it, or name it: "
                "azureml://subscriptions/S/resourcegroups/R/workspaces/W/models/NAME/versions/V.",
            )
        source, folder = _in_workspace(address, within)
    blobs = {blob.name[len(folder) :].strip("/"): blob for blob in source.under(folder)}
    if not blobs:
        raise UsageError(
            f"model {str(address)!r} has no files in {folder!r}",
            hint="Register it as a folder (type custom_model or mlflow_model).",
        )
    return source, blobs


def _in_workspace(address: ModelAddress, workspace: Workspace) -> tuple[Datastore, str]:
    client = open_client(workspace)
    with explained(f"model {str(address)!r} cannot be read"):
        path = str(client.ml.models.get(address.name, address.version).path)
    try:
        found = data_address(path)
    except ValueError as error:
        raise UsageError(
            f"model {str(address)!r} is at {path[:200]!r}, which is not read",
            hint="Register it from a datastore of blob storage.",
        ) from error
    return Datastore(client, found.datastore), f"{found.path.strip('/')}/"


class RegistryModel(Datastore):
    """The files of a model in a registry: a container that may be read for a while.

    Args:
        address: The model's; it is in a registry.

    Attributes:
        folder: The model's folder in the container, with ``/`` at its end.
    """

    def __init__(self, address: ModelAddress) -> None:
        # No workspace is behind it: `_connect` is all that differs from a datastore.
        super().__init__(None, address.registry)  # type: ignore[arg-type]
        self._address = address
        self._what = f"model {str(address)!r} cannot be read"
        with explained(self._what):
            self._models = _registry(str(address.registry)).models
            self._uri = str(self._models.get(address.name, address.version).path)
        from azure.storage.blob import BlobClient

        self.folder = f"{BlobClient.from_blob_url(self._uri).blob_name.strip('/')}/"

    def _connect(self) -> Any:
        # Below the SDK's public interface, which only has a download of everything at once.
        from azure.ai.ml._utils._registry_utils import get_storage_details_for_registry_assets
        from azure.storage.blob import BlobClient, ContainerClient

        with explained(self._what):
            address, kind = get_storage_details_for_registry_assets(
                service_client=self._models._service_client,
                asset_type="models",
                asset_name=self._address.name,
                asset_version=self._address.version,
                rg_name=self._models._resource_group_name,
                reg_name=self._address.registry,
                uri=self._uri,
            )
        if kind != "SAS":  # anybody may read it
            blob = BlobClient.from_blob_url(address)
            return ContainerClient(f"https://{blob.primary_hostname}", blob.container_name)
        return ContainerClient.from_container_url(address)


def _registry(name: str) -> Any:
    check_sdk()
    from azure.ai.ml import MLClient

    with explained(f"the registry {name!r} cannot be used"):
        return MLClient(new_credential(), registry_name=name, enable_telemetry=False)
