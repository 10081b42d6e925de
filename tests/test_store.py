import threading
from pathlib import Path

import pytest

from paretune.errors import StateError
from paretune.models import ModelKind, folder_digest
from paretune.registry import find_pass
from paretune.store import Store


def put(store: Store, key: str, text: str) -> str:
    with store.stage() as stage:
        folder = stage / "model"
        folder.mkdir()
        (folder / "config.json").write_text(text)
        return store.put(key, folder, ModelKind.HF, {"seconds": 1.5}).digest


def test_what_was_put_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = put(store, "k", "{}")
    found = store.lookup("k")
    assert found is not None
    assert found.digest == digest == folder_digest(found.path)
    assert store.note("k") == {"seconds": 1.5}
    assert store.lookup("other") is None


def test_two_keys_may_share_one_object(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert put(store, "a", "{}") == put(store, "b", "{}")
    assert store.usage()[0] == 1


def test_a_truncated_object_is_not_a_hit_and_verify_names_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = put(store, "k", "{}")
    (store.object_path(digest) / "config.json").write_text("")
    assert store.lookup("k") is None
    (fault,) = store.verify()
    assert "does not match" in fault


def test_staging_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def stopped() -> None:
        with store.stage() as stage:
            (stage / "half").write_text("x")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        stopped()
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_key_is_built_by_one_at_a_time(tmp_path: Path) -> None:
    store, order = Store(tmp_path), []
    inside = threading.Event()

    def second() -> None:
        inside.wait()
        with Store(tmp_path).lock("k"):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with store.lock("k"):
        inside.set()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_the_key_depends_on_all_that_the_output_depends_on(tmp_path: Path) -> None:
    store, noop = Store(tmp_path), find_pass("noop")
    base = {
        "input_digest": "sha256:1",
        "pass_": noop,
        "params": noop.Params(),
        "data": {},
        "provider": "cpu",
    }
    key = store.action_key(**base)
    assert store.action_key(**{**base, "provider": "cuda"}) == key  # noop does not care
    for change in (
        {"input_digest": "sha256:2"},
        {"params": noop.Params(x=1)},
        {"data": {"a.train": "sha256:3"}},
        {"pass_": find_pass("fake_train")},
    ):
        assert store.action_key(**{**base, **change}) != key


def test_clear_and_a_missing_object(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = put(store, "k", "{}")
    store.clear()
    assert store.usage() == (0, 0)
    with pytest.raises(StateError, match="not in the store"):
        store.open_object(digest)


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot be written"):
        Store(tmp_path / "file" / "store")
