import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fake_study import write_stub_model

from paretune.core.errors import StateError
from paretune.core.model import ModelKind
from paretune.models.handle import folder_digest
from paretune.registry import find_pass
from paretune.store.artifacts import Store

ROOT = Path(__file__).resolve().parents[2]


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
    action = store.action("k")
    assert action is not None
    assert (action.digest, action.bytes, action.note) == (digest, 2, {"seconds": 1.5})
    assert store.lookup("other") is None
    assert store.faults == []


def test_two_keys_may_share_one_object(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert put(store, "a", "{}") == put(store, "b", "{}")
    assert store.usage()[0] == 1


# --- damage ----------------------------------------------------------------------------------


def test_a_truncated_file_is_noticed_at_once_set_aside_and_built_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = put(store, "k", "{}")
    (store.object_path(digest) / "config.json").write_text("{")
    assert store.lookup("k") is None
    assert store.faults == [
        f"store: artifact {digest.replace(':', '-')[:19]}: 1 bytes, expected 2; set aside, to be "
        "built again"
    ]
    assert len(list((tmp_path / "damaged").iterdir())) == 1
    assert put(store, "k", "{}") == digest
    assert store.lookup("k") is not None


def test_a_flipped_bit_is_noticed_at_the_first_use_in_a_process(tmp_path: Path) -> None:
    digest = put(Store(tmp_path), "k", "{}")
    file = Store(tmp_path).object_path(digest) / "config.json"
    file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
    store = Store(tmp_path)
    assert store.lookup("k") is not None  # the sizes are right
    assert not store.is_intact(digest)
    assert "does not match its digest" in store.faults[0]
    assert store.lookup("k") is None  # its object is set aside, and so is the action
    assert put(store, "k", "{}") == digest
    assert store.is_intact(digest)


def test_a_file_that_changes_after_it_was_checked_is_checked_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = put(store, "k", "{}")
    assert store.is_intact(digest)
    (store.object_path(digest) / "config.json").write_text("[]")
    assert not store.is_intact(digest)


def test_content_is_read_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = put(Store(tmp_path), "k", "{}")
    store, read = Store(tmp_path), []

    def counted(folder: Path) -> str:
        read.append(folder)
        return folder_digest(folder)

    monkeypatch.setattr("paretune.store.artifacts.folder_digest", counted)
    assert [store.is_intact(digest) for _ in range(3)] == [True] * 3
    assert len(read) == 1


def test_an_action_whose_object_is_gone_is_set_aside(tmp_path: Path) -> None:
    store = Store(tmp_path)
    shutil.rmtree(store.object_path(put(store, "k", "{}")))
    assert store.lookup("k") is None
    assert store.faults == ["store: action k: its object is missing; set aside, to be built again"]
    assert list((tmp_path / "actions").iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"digest": "sha256:1"}', "\x00\x00"])
def test_a_half_written_action_is_set_aside(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    put(store, "k", "{}")
    (tmp_path / "actions" / "k.json").write_text(text)
    assert store.lookup("k") is None
    assert "action k cannot be read" in store.faults[0]
    put(store, "k", "{}")
    assert store.lookup("k") is not None


def test_an_object_without_an_action_does_no_harm(tmp_path: Path) -> None:
    """As a process leaves it that is killed between the two."""
    store = Store(tmp_path)
    digest = put(store, "k", "{}")
    (tmp_path / "actions" / "k.json").unlink()
    assert store.lookup("k") is None
    assert put(store, "k", "{}") == digest


def test_verify_reads_everything_and_names_each_fault(tmp_path: Path) -> None:
    store = Store(tmp_path)
    good, flipped, gone = (put(store, key, text) for key, text in zip("abc", "123", strict=True))
    (store.object_path(flipped) / "config.json").write_text("9")
    shutil.rmtree(store.object_path(gone))
    (tmp_path / "actions" / "d.json").write_text("{")
    faults = store.verify()
    assert len(faults) == 3
    assert store.verify() == []
    assert [action.digest for action in store.actions()] == [good]


def test_an_artifact_that_is_gone_or_damaged_cannot_be_opened(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = put(store, "k", "{}")
    (store.object_path(digest) / "config.json").write_text("[]")
    with pytest.raises(StateError, match="was damaged and set aside"):
        store.open_object(digest)
    with pytest.raises(StateError, match="is no longer in the store"):
        store.open_object(digest)


# --- sharing ---------------------------------------------------------------------------------


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


_BUILD = """
import sys, time
from pathlib import Path
from paretune.core.candidate import Step
from paretune.core.job import Build
from paretune.core.model import Model, ModelKind
from paretune.targets.worker.building import build
store, model, built, flag = sys.argv[1:]
task = Build(
    model=Model(ModelKind.HF, Path(model), "sha256:0"),
    recipe=tuple(Step("noop", {"x": n, "journal": built}) for n in range(3)),
    provider="cpu",
    store=Path(store),
    data={"specs": {}, "root": ".", "allow_network": False},
)
while not Path(flag).exists():
    time.sleep(0.002)
print(build(task, lambda progress: None).model.digest)
"""


def test_four_processes_at_once_build_each_key_once(tmp_path: Path) -> None:
    write_stub_model(tmp_path / "model")
    journal, flag = tmp_path / "built", tmp_path / "go"
    command = [
        sys.executable,
        "-c",
        _BUILD,
        str(tmp_path / "store"),
        str(tmp_path / "model"),
        str(journal),
        str(flag),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "plugins")}
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(4)
    ]
    flag.touch()
    answers = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(answers) == 1
    assert sorted(journal.read_text().split()) == ["0", "1", "2"]
    assert Store(tmp_path / "store").verify() == []


# --- keys ------------------------------------------------------------------------------------


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


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot be written"):
        Store(tmp_path / "file" / "store")
