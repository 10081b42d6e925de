"""Data and models in Azure that this machine reads: copied once, continued, and checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paretune.azure.blobs import Blob, Datastore
from paretune.azure.failures import CredentialsError
from paretune.azure.inputs import copy_file
from paretune.config import load
from paretune.config.model_source import find_model
from paretune.core.errors import DataError, TransientError, UsageError
from paretune.core.permissions import Permissions
from tests.azure.cloud import NAMED, Cloud
from tests.azure.registry import publish, register, upload
from tests.azure.service import STORE
from tests.mlflow_folders import azures_form
from tests.tiny_models import make_tiny_llama

pytestmark = pytest.mark.azure
ALLOWED = Permissions(network=True)
ADDRESS = NAMED.uri(STORE, "in/train.jsonl")


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARETUNE_STORE", str(tmp_path / "store"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Files that are read from Azure, with the offset of each read."""
    seen: list[tuple[str, int]] = []
    real = Datastore.pieces

    def pieces(self: Datastore, blob: Blob, offset: int = 0) -> Iterator[bytes]:
        seen.append((blob.name, offset))
        return real(self, blob, offset)

    monkeypatch.setattr(Datastore, "pieces", pieces)
    return seen


def put(cloud: Cloud, content: bytes, name: str = "in/train.jsonl") -> None:
    cloud.blobs.upload_blob(name, content, overwrite=True)


def copy(tmp_path: Path, address: str = ADDRESS, **options: Any) -> Path:
    shown: list[tuple[str, int, int]] = options.pop("shown", [])
    return copy_file(address, NAMED, tmp_path / "copies", lambda *told: shown.append(told))


def test_a_file_is_copied_once_and_again_when_it_is_another_one(
    cloud: Cloud, tmp_path: Path, read: list[tuple[str, int]]
) -> None:
    put(cloud, b"one\n")
    shown: list[tuple[str, int, int]] = []
    here = copy(tmp_path, shown=shown)
    assert here.read_bytes() == b"one\n"
    assert shown[-1] == ("train.jsonl", 4, 4)
    assert copy(tmp_path) == here
    assert len(read) == 1
    put(cloud, b"two\n")
    assert copy(tmp_path).read_bytes() == b"two\n"
    here.write_bytes(b"six\n")  # somebody writes into the store
    assert copy(tmp_path).read_bytes() == b"two\n"
    assert len(read) == 3


def test_an_interrupted_copy_continues_in_the_middle_of_the_file(
    cloud: Cloud, tmp_path: Path, read: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(range(256)) * (40 << 10)  # 10 MB, in several pieces
    put(cloud, content)
    counted = Datastore.pieces

    def broken(self: Datastore, blob: Blob, offset: int = 0) -> Iterator[bytes]:
        yield next(counted(self, blob, offset))
        raise TransientError("the connection broke")

    monkeypatch.setattr(Datastore, "pieces", broken)
    with pytest.raises(TransientError, match=r"of 10\.5 MB are here") as caught:
        copy(tmp_path)
    assert "continues" in str(caught.value.hint)
    monkeypatch.setattr(Datastore, "pieces", counted)
    arrived = [offset for _, offset in read]
    assert copy(tmp_path).read_bytes() == content
    assert read[-1][1] > max(arrived) > 0
    assert not list((tmp_path / "copies").glob("parts/*"))


def test_a_file_that_was_replaced_is_not_continued(
    cloud: Cloud, tmp_path: Path, read: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cloud, b"a" * 1000)
    counted = Datastore.pieces

    def broken(self: Datastore, blob: Blob, offset: int = 0) -> Iterator[bytes]:
        yield b"a" * min(100, blob.size - offset)
        raise TransientError("the connection broke")

    monkeypatch.setattr(Datastore, "pieces", broken)
    with pytest.raises(TransientError):
        copy(tmp_path)
    monkeypatch.setattr(Datastore, "pieces", counted)
    put(cloud, b"b" * 1000)
    assert copy(tmp_path).read_bytes() == b"b" * 1000
    assert read[-1][1] == 0


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (NAMED.uri(STORE, "in/absent.json"), "no such file"),
        (NAMED.uri(STORE, "in"), "no such file"),
        (NAMED.uri("nowhere", "x.json"), "not found"),
        ("azureml://datastores/x", "expected an address such as"),
    ],
)
def test_what_cannot_be_copied(cloud: Cloud, tmp_path: Path, address: str, told: str) -> None:
    put(cloud, b"one\n")
    with pytest.raises(UsageError, match=told) as caught:
        copy(tmp_path, address)
    assert caught.value.exit_status == 2


def test_credentials_that_expired_or_may_not_read_say_what_to_do(
    cloud: Cloud, tmp_path: Path
) -> None:
    put(cloud, b"one\n")
    cloud.service.denied.append("/datastores/")
    with pytest.raises(CredentialsError, match="permission denied") as caught:
        copy(tmp_path)
    assert "role" in str(caught.value.hint)
    cloud.service.denied.clear()
    cloud.service.tokens.expired_secret = True
    from paretune.azure import client

    client._OPENED.clear()
    with pytest.raises(CredentialsError, match="expired") as caught:
        copy(tmp_path)
    assert "az login" in str(caught.value.hint)


def configuration(model: Path | str, data: str) -> dict[str, Any]:
    return {
        "model": str(model),
        "data": {"tone": {"file": data, "text": "{t}"}},
        "passes": [{"lora": {"train": "tone", "max_steps": 1}}, "merge"],
        "baseline": [],
        "evaluate": ["footprint"],
        "objectives": {"minimize": "size_mb"},
    }


def test_a_configuration_copies_what_it_reads_if_the_network_is_allowed(
    cloud: Cloud, tiny: Path, read: list[tuple[str, int]]
) -> None:
    put(cloud, b'{"t": "one"}\n{"t": "two"}\n')
    value = configuration(tiny, ADDRESS)
    value["data"]["unused"] = {"file": NAMED.uri(STORE, "in/absent.json"), "text": "{t}"}
    with pytest.raises(DataError, match="the network is off") as caught:
        load(value)
    assert "--allow-network" in str(caught.value.hint)
    assert read == []
    plan = load(value, allow_network=True)
    file = Path(str(plan.data["tone"].file))
    assert file.read_bytes() == b'{"t": "one"}\n{"t": "two"}\n'
    # What nothing refers to is not copied, and a resolved configuration names the copy.
    assert [name for name, _ in read] == ["in/train.jsonl"]
    assert plan.to_json()["data"]["tone"]["file"] == str(file)
    assert plan.to_json()["data"]["unused"]["file"] == value["data"]["unused"]["file"]


def test_no_connection_ends_the_command_with_what_to_do(
    cloud: Cloud, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Path:
        raise TransientError("the service cannot be reached")

    monkeypatch.setattr("paretune.azure.inputs.copy_file", broken)
    with pytest.raises(UsageError, match="cannot be reached") as caught:
        load(configuration(tiny, ADDRESS), allow_network=True)
    assert caught.value.exit_status == 2
    assert "later" in str(caught.value.hint)


@pytest.mark.parametrize("registered", [register, publish])
def test_a_registered_model_is_copied_and_read(
    cloud: Cloud, tiny: Path, tmp_path: Path, registered: Any, read: list[tuple[str, int]]
) -> None:
    folder = tmp_path / "folder"
    azures_form(tiny, folder / "mlflow_model_folder")
    (folder / "mlflow_model_folder" / "model.bin").write_bytes(b"a pickle")
    (folder / "evaluation.py").write_text("code")
    upload(cloud, folder, f"{registered.__name__}/m")
    address = registered(cloud, "m", "3", f"{registered.__name__}/m")
    with pytest.raises(UsageError, match="the network is off"):
        find_model(address, tmp_path)
    value = configuration(address, ADDRESS)
    value["targets"] = {
        "aml": {
            "azureml": {
                **{k: getattr(NAMED, k) for k in ("subscription_id", "resource_group")},
                "workspace_name": NAMED.workspace_name,
                "compute": "cluster",
                "image": "some/image",
            }
        }
    }
    put(cloud, b'{"t": "one"}\n{"t": "two"}\n')
    plan = load(value, allow_network=True)
    assert json.loads((plan.model / "config.json").read_text())["model_type"] == "llama"
    copied = {Path(name).suffix for name, _ in read}
    assert not copied & {".bin", ".py"}
    count = len(read)
    assert load(value, allow_network=True).model == plan.model
    assert len(read) == count


def test_a_model_that_has_no_files_that_are_read_says_so(cloud: Cloud, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"x")
    upload(cloud, folder, "pickled/m")
    with pytest.raises(UsageError, match="no files that are read") as caught:
        find_model(publish(cloud, "pickled", "1", "pickled/m"), tmp_path, ALLOWED)
    assert "safetensors" in str(caught.value.hint)


def test_a_model_that_is_not_there_says_so(cloud: Cloud, tmp_path: Path) -> None:
    publish(cloud, "m", "1", "nothing")
    absent = "azureml://registries/some-registry/models/absent/versions/1"
    with pytest.raises(UsageError, match="not found"):
        find_model(absent, tmp_path, ALLOWED)
    with pytest.raises(UsageError, match="has no files"):
        find_model(publish(cloud, "m", "1", "nothing"), tmp_path, ALLOWED)
    with pytest.raises(UsageError, match="its workspace is not known"):
        find_model("azureml:m:1", tmp_path, ALLOWED)
    with pytest.raises(UsageError, match="expected an address such as"):
        find_model("azureml://registries/r/models/m/labels/latest", tmp_path, ALLOWED)
