"""Before anything expensive: credentials, names, roles, and a service that is busy."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from paretune.azure.client import AzureClient, open_client
from paretune.azure.failures import CredentialsError
from paretune.azure.workspace import Workspace
from paretune.core.errors import TransientError, UsageError
from tests.azure.cloud import NAMED, Cloud
from tests.azure.service import COMPUTE, compute
from tests.azure.tokens import APPLICATION

pytestmark = pytest.mark.azure


def test_a_workspace_and_its_compute_are_found(cloud: Cloud) -> None:
    client = open_client(NAMED)
    client.check()
    client.check_compute(COMPUTE)
    assert open_client(NAMED) is client
    assert set(cloud.service.tokens.given) == {"https://management.azure.com/.default"}


def test_without_credentials_it_says_how_to_sign_in(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_CLIENT_SECRET")
    with pytest.raises(CredentialsError, match="no valid credentials for Azure are found") as error:
        open_client(NAMED).check()
    assert "az login" in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda cloud: setattr(cloud.service.tokens, "expired_secret", True), "have expired"),
        (lambda cloud: setattr(cloud.service.tokens, "revoked_before", 9e9), "no valid|expired"),
    ],
)
def test_expired_ones_are_told_apart(
    cloud: Cloud, change: Callable[[Cloud], None], said: str
) -> None:
    change(cloud)
    with pytest.raises(CredentialsError, match=said):
        open_client(NAMED).check()


def test_a_wrong_secret_is_refused(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "another one")
    with pytest.raises(CredentialsError, match=r"refused.*AADSTS7000215") as error:
        open_client(NAMED).check()
    assert "another one" not in str(error.value)
    assert APPLICATION not in str(error.value)


def test_a_role_that_is_missing_is_named(cloud: Cloud) -> None:
    cloud.service.denied.append("GET .*/workspaces/models$")
    with pytest.raises(CredentialsError, match=r"permission denied.*authorization") as error:
        open_client(NAMED).check()
    assert "AzureML Data Scientist" in str(error.value)


def test_wrong_names_are_said(cloud: Cloud) -> None:
    other = Workspace(NAMED.subscription_id, NAMED.resource_group, "absent")
    with pytest.raises(UsageError, match="'absent' cannot be used: not found"):
        open_client(other).check()
    with pytest.raises(UsageError, match="the compute 'absent' cannot be used: not found"):
        open_client(NAMED).check_compute("absent")


def test_a_compute_that_failed_is_refused(cloud: Cloud) -> None:
    cloud.service.computes["broken"] = compute("broken", state="Failed")
    with pytest.raises(UsageError, match="the compute 'broken' is failed"):
        open_client(NAMED).check_compute("broken")


def test_credentials_of_another_tenant_are_refused_in_azures_words(cloud: Cloud) -> None:
    cloud.service.plan("GET", "/workspaces/models$", 401, times=9)
    with pytest.raises(CredentialsError, match=r"credentials are refused: .*this was planned"):
        open_client(NAMED).check()


@pytest.mark.parametrize("host", ["login.microsoftonline.com", "management.azure.com"])
def test_a_host_that_never_answers_is_given_up(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr("paretune.azure.client._RETRIES", 0)
    monkeypatch.setattr("paretune.azure.client._SILENT_S", 0.5)
    known = cloud.proxy.port_of
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setattr(cloud.proxy, "port_of", lambda at: port if at == host else known(at))
        with pytest.raises(TransientError, match="cannot be reached"):
            AzureClient(NAMED).check()


def test_a_busy_service_is_waited_for(cloud: Cloud) -> None:
    cloud.service.plan("GET", "/workspaces/models$", 429, times=2, Retry_After="1")
    before = cloud.service.asked("GET", "/workspaces/models$")
    open_client(NAMED).check()
    assert cloud.service.asked("GET", "/workspaces/models$") - before == 3


def test_one_that_stays_away_is_transient(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paretune.azure.client._RETRIES", 1)
    cloud.service.plan("GET", "/workspaces/models$", 500, times=5)
    with pytest.raises(TransientError, match="status 500"):
        AzureClient(NAMED).check()
    cloud.service.plans.clear()
    client = AzureClient(NAMED)
    client.check()
    cloud.proxy.cut = True
    with pytest.raises(TransientError, match="cannot be reached"):
        AzureClient(NAMED).check()
    cloud.proxy.refused.clear()


def test_nothing_is_imported_before_it_is_needed() -> None:
    program = (
        "import sys\n"
        "import paretune.azure.blobs, paretune.azure.client, paretune.targets.launchers.azureml\n"
        "print([name for name in sys.modules if name.startswith('azure')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
