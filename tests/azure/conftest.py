"""A cloud on loopback for all tests of a session; each test finds it as a user would."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from paretune.azure import blobs, client, patience
from paretune.core.model import Model
from paretune.models.handle import open_model
from paretune.targets.launchers import azureml_run
from paretune.targets.launchers.azureml import AzuremlTarget
from tests.onnx_networks import write_network

_OF_THE_SDK = "ignore:.*marshmallow:DeprecationWarning"
"""It pins marshmallow 3, which tells at each use what marshmallow 4 will not have."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings(_OF_THE_SDK))


if importlib.util.find_spec("azure") is None or importlib.util.find_spec("azure.ai") is None:
    REASON = "the extra azureml is not installed: pip install 'paretune[azureml]'"
    collect_ignore_glob = [] if os.environ.get("CI", "").lower() == "true" else ["test_*.py"]
else:
    from tests.azure.cloud import Cloud, running

    @pytest.fixture(scope="session")
    def one_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
        """A cloud of these tests' own."""
        with running(tmp_path_factory.mktemp("cloud")) as started:
            yield started

    @pytest.fixture
    def cloud(one_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
        """It, with nothing planned, and this process as a user who is signed in."""
        for key, value in one_cloud.environment.items():
            monkeypatch.setenv(key, value)
        client._OPENED.clear()
        service = one_cloud.service
        yield one_cloud
        service.plans.clear()
        service.denied.clear()
        service.secrets.clear()
        service.tokens.given.clear()
        service.tokens.expired_secret = False
        service.tokens.lifetime = 3600.0
        service.tokens.revoked_before = 0.0
        one_cloud.proxy.cut = False
        one_cloud.jobs.held.set()
        assert not one_cloud.proxy.refused, "an address outside was asked for"

    @pytest.fixture
    def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
        """Ask more often, and wait less, than is decent for the real service."""
        monkeypatch.setattr(azureml_run, "_LONGEST_POLL_S", 0.5)
        monkeypatch.setattr(patience, "_PAUSE_S", 0.2)
        monkeypatch.setattr(client, "_RETRIES", 0)
        monkeypatch.setattr(blobs, "_RETRIES", 0)

    @pytest.fixture(scope="module")
    def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A store in which the compute is described already, after the first test."""
        return tmp_path_factory.mktemp("store")

    @pytest.fixture
    def target(cloud: Cloud, store: Path, impatient: None) -> Iterator[AzuremlTarget]:
        """A target that knows its compute."""
        from tests.azure.test_target import opened

        with opened(store) as made:
            made.info()
            yield made

    @pytest.fixture
    def network(tmp_path: Path) -> Model:
        """A model that can be built there."""
        return open_model(write_network(tmp_path / "network", width=20_000))
