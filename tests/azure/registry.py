"""A registry of models, and models of a workspace, in the tests' cloud."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from tests.azure.cloud import BLOBS, NAMED, Cloud
from tests.azure.service import API, CONTAINER, SCOPE, STORE
from tests.azure.storage import ACCOUNT, KEY

REGISTRY = "some-registry"
_AT = (
    "/mferp/managementfrontend/subscriptions/s/resourceGroups/g/providers"
    f"/Microsoft.MachineLearningServices/registries/{REGISTRY}"
)


def upload(cloud: Cloud, folder: Path, place: str) -> None:
    """Put the files of a folder into the workspace's container."""
    for file in folder.rglob("*"):
        if file.is_file():
            name = f"{place}/{file.relative_to(folder).as_posix()}"
            cloud.blobs.upload_blob(name, file.read_bytes(), overwrite=True)


def register(cloud: Cloud, name: str, version: str, place: str) -> str:
    """Register a folder of the datastore as a model of the workspace; returns its address."""
    key = f"models/{name}/versions/{version}"
    uri = NAMED.uri(STORE, place)
    cloud.service.assets[key] = _model(f"{SCOPE}/{key}", version, uri)
    return f"azureml:{name}:{version}"


def publish(cloud: Cloud, name: str, version: str, place: str) -> str:
    """Have the registry serve a folder of the container as a model; returns its address."""
    service = cloud.service
    uri = f"https://{BLOBS}/{CONTAINER}/{place}"
    service.elsewhere[f"/registrymanagement/v1.0/registries/{REGISTRY}/discovery"] = {
        "registryName": REGISTRY,
        "primaryRegionResourceProviderUri": f"{API}/",
        "resourceGroup": "g",
        "subscriptionId": "s",
    }
    key = f"{_AT}/models/{name}/versions/{version}"
    address = f"azureml://registries/{REGISTRY}/models/{name}/versions/{version}"
    service.elsewhere[key] = _model(address, version, uri)
    secret = generate_container_sas(
        ACCOUNT,
        CONTAINER,
        KEY,
        permission=ContainerSasPermissions(read=True, list=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    service.elsewhere[f"{_AT}/datarefs/{name}/versions/{version}"] = {
        "blobReferenceForConsumption": {
            "blobUri": uri,
            "storageAccountArmId": "x",
            "credential": {
                "credentialType": "SAS",
                "sasUri": f"https://{BLOBS}/{CONTAINER}?{secret}",
            },
        }
    }
    return address


def _model(id: str, version: str, uri: str) -> dict[str, Any]:
    properties = {
        "isAnonymous": False,
        "isArchived": False,
        "modelType": "custom_model",
        "modelUri": uri,
        "flavors": {},
        "tags": {},
        "properties": {},
    }
    return {"id": id, "name": version, "type": "models", "properties": properties}
