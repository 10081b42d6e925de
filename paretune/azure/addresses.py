"""Addresses of data and models in Azure Machine Learning, as its users write them.

::

    azureml://subscriptions/S/resourcegroups/R/workspaces/W/datastores/D/paths/P
    azureml://datastores/D/paths/P                               (of the study's workspace)
    azureml://registries/R/models/N/versions/V
    azureml://subscriptions/S/resourcegroups/R/workspaces/W/models/N/versions/V
    azureml:N:V                                                  (of the study's workspace)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from paretune.azure.workspace import Workspace

SCHEME = "azureml:"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}"
_WORKSPACE = (
    r"subscriptions/(?P<subscription>[^/]+)/resourcegroups/(?P<group>[^/]+)"
    r"/workspaces/(?P<workspace>[^/]+)/"
)
_DATA = re.compile(
    rf"azureml://(?:{_WORKSPACE})?datastores/(?P<datastore>{_NAME})/paths/(?P<path>.+)",
    re.IGNORECASE,
)
_MODEL = re.compile(
    rf"azureml://(?:{_WORKSPACE}|registries/(?P<registry>{_NAME})/)"
    rf"models/(?P<name>{_NAME})/versions/(?P<version>{_NAME})",
    re.IGNORECASE,
)
_SHORT_MODEL = re.compile(rf"azureml:(?P<name>{_NAME}):(?P<version>{_NAME})")
DATA_FORM = "azureml://subscriptions/S/resourcegroups/R/workspaces/W/datastores/D/paths/FILE"
MODEL_FORM = "azureml://registries/R/models/NAME/versions/VERSION"


@dataclass(frozen=True)
class DataAddress:
    """A file in a datastore.

    Attributes:
        datastore: The datastore's name.
        path: The file, from the datastore's root.
        workspace: None: that of the study.
    """

    datastore: str
    path: str
    workspace: Workspace | None = None

    def __str__(self) -> str:
        if self.workspace is None:
            return f"azureml://datastores/{self.datastore}/paths/{self.path}"
        return self.workspace.uri(self.datastore, self.path)


@dataclass(frozen=True)
class ModelAddress:
    """One version of a registered model.

    Attributes:
        name: The model's name.
        version: Its version.
        registry: The registry; None: it is in a workspace.
        workspace: None: that of the study, or none if it is in a registry.
    """

    name: str
    version: str
    registry: str | None = None
    workspace: Workspace | None = None

    def __str__(self) -> str:
        if self.registry is None and self.workspace is None:
            return f"{SCHEME}{self.name}:{self.version}"
        registry = f"azureml://registries/{self.registry}"
        within = registry if self.workspace is None else self.workspace.address
        return f"{within}/models/{self.name}/versions/{self.version}"


def is_azure(text: str) -> bool:
    """Return whether a text is meant as an address in Azure Machine Learning."""
    return text.startswith(SCHEME)


def is_name(text: str) -> bool:
    """Return whether a text can be the name of a datastore, a model, a version or a registry."""
    return re.fullmatch(_NAME, text) is not None


def data_address(text: str) -> DataAddress:
    """Read the address of a file.

    Raises:
        ValueError: It is not one.
    """
    found = _DATA.fullmatch(text)
    if found is None or not found["path"].isprintable():
        raise ValueError(f"expected an address such as {DATA_FORM}, found {text!r}")
    parts = found["path"].split("/")
    if not all(part.strip() and part not in (".", "..") for part in parts):
        raise ValueError(f"expected the path of a file in the datastore, found {found['path']!r}")
    return DataAddress(found["datastore"], found["path"], _workspace(found))


def model_address(text: str) -> ModelAddress:
    """Read the address of a model.

    Raises:
        ValueError: It is not one.
    """
    short = _SHORT_MODEL.fullmatch(text)
    if short is not None:
        return ModelAddress(short["name"], short["version"])
    found = _MODEL.fullmatch(text)
    if found is None:
        raise ValueError(f"expected an address such as {MODEL_FORM}, found {text!r}")
    return ModelAddress(found["name"], found["version"], found["registry"], _workspace(found))


def _workspace(found: re.Match[str]) -> Workspace | None:
    if found["subscription"] is None:
        return None
    return Workspace(found["subscription"], found["group"], found["workspace"])
