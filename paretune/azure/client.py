"""Opens a workspace by Azure's own SDK, and checks before anything expensive that it may be used.

The SDK is imported here, at the first use: it takes about four seconds. It reports no usage, and
sends nothing to anybody but the workspace's own services.
"""

from __future__ import annotations

import logging
import threading
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from paretune.azure.failures import explained
from paretune.azure.workspace import Workspace
from paretune.core.errors import UsageError
from paretune.core.packages import check_installed

_PACKAGES = ("azure-ai-ml", "azure-identity")
_RETRIES = 6
_LONGEST_WAIT_S = 60
_SILENT_S = 60
"""How long an answer may take; the SDK's five minutes, six times, would look like a hang."""
_OFF = ("Stopped", "Stopping", "Deleting", "Failed")
_LOCK = threading.Lock()
_OPENED: dict[Workspace, AzureClient] = {}


def check_sdk() -> None:
    """Check that the SDK is installed.

    Raises:
        UsageError: The extra ``azureml`` is not.
    """
    check_installed("Azure Machine Learning", _PACKAGES)


def open_client(workspace: Workspace) -> AzureClient:
    """Return the client of a workspace; of the same one always the same.

    Args:
        workspace: Which.

    Raises:
        UsageError: The extra ``azureml`` is not installed.
    """
    check_sdk()
    with _LOCK:
        if workspace not in _OPENED:
            _OPENED[workspace] = AzureClient(workspace)
        return _OPENED[workspace]


def new_credential() -> Any:
    """Return what gives tokens: the environment, a managed identity, ``az login`` and others."""
    from azure.identity import DefaultAzureCredential

    _quiet()
    return DefaultAzureCredential(connection_timeout=_SILENT_S, read_timeout=_SILENT_S)


@dataclass
class AzureClient:
    """A workspace, with the credentials of this user.

    Attributes:
        workspace: Which.
    """

    workspace: Workspace

    @cached_property
    def credential(self) -> Any:
        """What gives tokens."""
        return new_credential()

    @cached_property
    def ml(self) -> Any:
        """The SDK's client (``azure.ai.ml.MLClient``)."""
        _quiet()
        with warnings.catch_warnings():  # of marshmallow, whose version the SDK pins
            warnings.simplefilter("ignore")
            from azure.ai.ml import MLClient
        # It has a handler of its own, for notes on classes of its own that are experimental.
        logging.getLogger("azure.ai.ml").setLevel(logging.CRITICAL)
        with explained("Azure's SDK cannot be started"):
            return MLClient(
                self.credential,
                self.workspace.subscription_id,
                self.workspace.resource_group,
                self.workspace.workspace_name,
                enable_telemetry=False,
                show_progress=False,
                retry_total=_RETRIES,
                retry_backoff_max=_LONGEST_WAIT_S,
                connection_timeout=_SILENT_S,
                read_timeout=_SILENT_S,
            )

    def check(self) -> None:
        """Check that there are credentials, and that they may read the workspace.

        Raises:
            CredentialsError: They are missing, expired, or without the permission.
            UsageError: There is no such workspace.
            TransientError: The service is not reached.
        """
        name = self.workspace.workspace_name
        with explained(f"the workspace {name!r} cannot be used"):
            self.ml.workspaces.get(name)

    def check_compute(self, name: str) -> None:
        """Check that there is a compute, and that it runs jobs.

        Args:
            name: Of the compute.

        Raises:
            CredentialsError: It may not be read.
            UsageError: There is none of that name, or it is not in use.
            TransientError: The service is not reached.
        """
        with explained(f"the compute {name!r} cannot be used"):
            found = self.ml.compute.get(name)
        state = getattr(found, "state", None) or found.provisioning_state
        state = str(getattr(state, "value", state))
        if state in _OFF:
            raise UsageError(
                f"the compute {name!r} is {state.lower()}",
                hint="Start it, or name another one (`compute:`).",
            )


def _quiet() -> None:
    """Have the SDK's own log lines written only where the user of this library asks for them."""
    for name in ("azure", "msal"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET and not logger.handlers:
            logger.setLevel(logging.CRITICAL)
