"""Which workspace of Azure Machine Learning is meant, and how it writes the places of its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from paretune.core.errors import UsageError
from paretune.core.jsontools import read_json

_KEYS = ("subscription_id", "resource_group", "workspace_name")


@dataclass(frozen=True)
class Workspace:
    """A workspace.

    Attributes:
        subscription_id: The subscription's id.
        resource_group: Its resource group.
        workspace_name: Its name.
    """

    subscription_id: str
    resource_group: str
    workspace_name: str

    @property
    def address(self) -> str:
        """Its address, with which those of its assets begin."""
        return (
            f"azureml://subscriptions/{self.subscription_id}/resourcegroups/{self.resource_group}"
            f"/workspaces/{self.workspace_name}"
        )

    def uri(self, datastore: str, path: str) -> str:
        """Return the address of a file or folder in a datastore, as jobs take it."""
        return f"{self.address}/datastores/{datastore}/paths/{path}"


def read_workspace(file: Path) -> Workspace:
    """Read the ``config.json`` that Azure's portal offers for a workspace.

    Args:
        file: The file.

    Raises:
        UsageError: It cannot be read, or does not name a workspace.
    """
    hint = "Download it in Azure's portal: the workspace's page, `Download config.json`."
    try:
        found = read_json(file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{file} cannot be read: {reason}", hint=hint) from error
    values: list[str] = []
    for key in _KEYS:
        value = found.get(key) if isinstance(found, dict) else None
        if not isinstance(value, str) or not value.strip():
            raise UsageError(f"{file}: expected a text at {key!r}", hint=hint)
        values.append(value)
    return Workspace(*values)
