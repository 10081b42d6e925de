"""All of Azure that the tests need, on loopback: proxy, hosts, tokens, jobs, blob storage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paretune.azure.workspace import Workspace
from tests.azure import storage
from tests.azure.certificates import write_certificates
from tests.azure.jobs import LOGS, JobService
from tests.azure.proxy import Proxy
from tests.azure.service import CONTAINER, GROUP, HOSTS, SUBSCRIPTION, WORKSPACE, Service
from tests.azure.storage import ACCOUNT, KEY
from tests.azure.tokens import APPLICATION, SECRET, TENANT

BLOBS = f"{ACCOUNT}.blob.core.windows.net"
NAMED = Workspace(SUBSCRIPTION, GROUP, WORKSPACE)


@dataclass
class Cloud:
    """A running cloud.

    Attributes:
        folder: Its files.
        service: ARM, the run history and the token service.
        jobs: Runs jobs.
        proxy: Leads there.
        blobs: The SDK's client of the workspace's container, past the proxy.
    """

    folder: Path
    service: Service
    jobs: JobService
    proxy: Proxy
    blobs: Any

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to find it, and to sign in."""
        return {
            "HTTPS_PROXY": self.proxy.address,
            "https_proxy": self.proxy.address,
            "NO_PROXY": "",
            "no_proxy": "",
            "REQUESTS_CA_BUNDLE": str(self.folder / "ca.pem"),
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": APPLICATION,
            "AZURE_CLIENT_SECRET": SECRET,
            "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",  # no other service is asked
        }

    def names(self, prefix: str) -> list[str]:
        """Return the names of blobs that begin with a text."""
        return sorted(self.blobs.list_blob_names(name_starts_with=prefix))

    def holding(self, text: bytes) -> list[str]:
        """Return the names of what jobs left, logs included, that contains a text."""
        logs = [path for path in self.jobs.folder.glob("*/log") if text in path.read_bytes()]
        results = [
            name
            for name in self.names("paretune/jobs/")
            if text in self.blobs.download_blob(name).readall()
        ]
        return [*map(str, logs), *results]


@contextmanager
def running(folder: Path, nodes: int = 1) -> Iterator[Cloud]:
    """Yield a cloud of its own.

    Args:
        folder: Takes its files.
        nodes: How many jobs run at once.
    """
    from azure.storage.blob import BlobServiceClient

    write_certificates(folder, [*HOSTS, BLOBS])
    started = storage.start(folder)
    ports: dict[str, int] = {BLOBS: started.port}
    proxy = Proxy(ports.get)
    address = f"https://127.0.0.1:{started.port}/{ACCOUNT}"
    trust = str(folder / "ca.pem")
    own = BlobServiceClient(address, KEY, connection_verify=trust, use_env_settings=False)
    for name in (CONTAINER, LOGS):
        own.create_container(name)

    def container(name: str) -> Any:
        return own.get_container_client(LOGS if name == LOGS else CONTAINER)

    jobs = JobService(folder / "jobs", container, nodes)
    service = Service(folder, jobs)
    ports.update(dict.fromkeys(HOSTS, service.port))
    try:
        yield Cloud(folder, service, jobs, proxy, own.get_container_client(CONTAINER))
    finally:
        jobs.stop()
        service.stop()
        proxy.stop()
        started.stop()
