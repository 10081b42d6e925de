"""Files in a datastore: in blocks, continued, and never mixed from two versions."""

from __future__ import annotations

import base64
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from paretune.azure import blobs
from paretune.azure.blobs import Datastore, TooLargeError
from paretune.azure.client import open_client
from paretune.azure.failures import CredentialsError, explained
from paretune.azure.inputs import copy_file
from paretune.core.errors import TransientError, UsageError
from tests.azure.cloud import NAMED, Cloud
from tests.azure.service import STORE, datastore

pytestmark = pytest.mark.azure


@pytest.fixture
def store(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Datastore:
    monkeypatch.setattr(blobs, "BLOCK_BYTES", 1 << 16)
    monkeypatch.setattr(blobs, "_RETRIES", 1)
    monkeypatch.setattr(blobs, "_FIRST_WAIT_S", 0)
    return Datastore(open_client(NAMED))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(os.urandom(300_000))
    return made


def content(store: Datastore, name: str) -> bytes:
    found = store.find(name)
    assert found is not None
    return b"".join(store.pieces(found))


def test_a_file_goes_up_once(store: Datastore, file: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert store.upload(file, "a/once", lambda *sent: seen.append(sent)) == 300_000
    assert seen == [(min(n << 16, 300_000), 300_000) for n in range(1, 6)]
    assert store.upload(file, "a/once") == 0
    assert content(store, "a/once") == file.read_bytes()
    assert [blob.name for blob in store.under("a/")] == ["a/once"]
    assert store.name == STORE


def test_an_upload_that_broke_off_is_continued(store: Datastore, file: Path) -> None:
    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > 150_000:
            raise StopError

    with pytest.raises(StopError):
        store.upload(file, "a/continued", stop)
    assert store.find("a/continued") is None, "it appears when it is whole"
    left = 300_000 - 3 * (1 << 16)
    assert store.upload(file, "a/continued") == left
    assert content(store, "a/continued") == file.read_bytes()


def test_the_end_of_a_file_is_read_and_no_other_version_of_it(store: Datastore) -> None:
    store.write("a/small", b"0123456789")
    found = store.find("a/small")
    assert found is not None
    assert b"".join(store.pieces(found, 7)) == b"789"
    store.write("a/small", b"abcdefghij")
    with pytest.raises(TransientError, match="was changed meanwhile"):
        b"".join(store.pieces(found))
    assert store.read("a/small", 10) == b"abcdefghij"
    with pytest.raises(TooLargeError, match="10 bytes, more than 9"):
        store.read("a/small", 9)
    assert store.read("a/absent", 9) is None


def test_a_user_without_the_right_to_the_key_signs_in_at_the_storage(cloud: Cloud) -> None:
    cloud.service.denied.append("POST .*/listSecrets")
    store = Datastore(open_client(NAMED))
    store.write("a/by-identity", b"text")
    assert store.read("a/by-identity", 10) == b"text"
    assert "https://storage.azure.com/.default" in cloud.service.tokens.given


def test_a_datastore_without_a_key_is_read_by_the_users_credentials(cloud: Cloud) -> None:
    cloud.service.stores["identity"] = datastore("identity", keys=False)
    store = Datastore(open_client(NAMED), "identity")
    store.write("a/identity", b"text")
    assert store.read("a/identity", 10) == b"text"


def test_one_that_is_not_there_is_named(cloud: Cloud) -> None:
    with pytest.raises(UsageError, match="the datastore absent cannot be used: not found"):
        Datastore(open_client(NAMED), "absent").find("x")


def test_a_key_that_was_renewed_is_an_error_of_credentials(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.azure.service.KEY", base64.b64encode(bytes(32)).decode())
    with pytest.raises(CredentialsError, match="does not accept the datastore's key or token"):
        Datastore(open_client(NAMED)).find("x")


def test_a_key_that_was_renewed_meanwhile_is_asked_for_anew(
    store: Datastore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("tests.azure.service.KEY", base64.b64encode(bytes(32)).decode())
        assert store.name == STORE
    monkeypatch.setattr(blobs, "_FRESH_S", -1.0)  # it was opened long ago
    with pytest.raises(TransientError, match="requested again"):
        store.upload(file, "a/renewed")
    assert store.upload(file, "a/renewed") == 300_000


def test_two_that_send_the_same_file_at_once_do_not_disturb_each_other(
    store: Datastore, file: Path
) -> None:
    others = [store, *(Datastore(open_client(NAMED)) for _ in range(3))]
    for other in others:
        assert other.name == STORE
    for round in range(4):
        with ThreadPoolExecutor(len(others)) as pool:
            sent = [pool.submit(each.upload, file, f"a/both-{round}") for each in others]
        assert max(each.result() for each in sent) == 300_000
        assert content(store, f"a/both-{round}") == file.read_bytes()


@pytest.mark.parametrize("name", ["ein Ordner/Übung 1.jsonl", "a%20b/c+d.jsonl", "a/#1?x=y&z.json"])
def test_a_name_with_any_characters_is_the_same_there(
    store: Datastore, file: Path, tmp_path: Path, name: str
) -> None:
    store.upload(file, name)
    address = NAMED.uri(STORE, name)
    copy = copy_file(address, NAMED, tmp_path / "copies", lambda *told: None)
    assert copy.read_bytes() == file.read_bytes()
    assert copy.name == name.rpartition("/")[2]


def test_a_file_that_is_gone_is_transient(store: Datastore, tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="cannot be read"):
        store.upload(tmp_path / "absent", "a/absent")


def test_a_lost_connection_is_transient(
    store: Datastore, cloud: Cloud, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.upload(file, "a/lost")
    found = store.find("a/lost")
    assert found is not None
    another = Datastore(open_client(NAMED))
    assert another.name == STORE
    cloud.proxy.cut = True
    with pytest.raises(TransientError, match="cannot be reached"):
        b"".join(another.pieces(found))
    cloud.proxy.refused.clear()


@pytest.mark.parametrize("size", [100, 300_000])
def test_a_file_that_was_written_meanwhile_is_not_kept(
    store: Datastore, tmp_path: Path, size: int
) -> None:
    file, right = tmp_path / "file", os.urandom(size)
    digest = hashlib.sha256(right).hexdigest()
    file.write_bytes(os.urandom(size))
    with pytest.raises(TransientError, match="was written while it was sent"):
        store.upload(file, f"a/{digest}", sha256=digest)
    assert store.find(f"a/{digest}") is None
    file.write_bytes(right)
    store.upload(file, f"a/{digest}", sha256=digest)
    assert content(store, f"a/{digest}") == right, "no block of the other content"
    store.write(f"a/{digest}", b"x" * size)
    store.upload(file, f"a/{digest}", sha256=digest, again=True)
    assert content(store, f"a/{digest}") == right


def test_a_secret_that_runs_out_is_renewed_in_the_middle_of_a_file(
    store: Datastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.urandom(48 << 20)  # the SDK reads 32 MB at first
    monkeypatch.setattr(blobs, "BLOCK_BYTES", 64 << 20)
    store.write("a/long", whole)
    found = store.find("a/long")
    assert found is not None
    monkeypatch.setattr(blobs, "_RENEWED_AFTER_S", -1.0)
    opened: list[int] = []
    real = Datastore._connect

    def connect(self: Datastore) -> Any:
        opened.append(1)
        return real(self)

    monkeypatch.setattr(Datastore, "_connect", connect)
    assert b"".join(store.pieces(found)) == whole
    assert len(opened) > 3


def test_an_address_in_an_error_has_no_signature() -> None:
    from azure.core.exceptions import ServiceRequestError

    address = "/c/log.txt?sv=2026-02-06&sr=b&sig=c2VjcmV0%3D&sp=r"
    with pytest.raises(TransientError) as caught, explained("it"):
        raise ServiceRequestError(f"Max retries exceeded with url: {address} (Caused by it)")
    assert "url: /c/log.txt?... (Caused by it)" in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)
