import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import StateError, UsageError
from paretune.core.model import Model, ModelKind
from paretune.runtimes.package import lay_out
from paretune.store.artifacts import Store
from paretune.store.gc import artifacts, clean
from paretune.study.folder import Study


def put(store: Store, key: str, text: str, *, days_old: float = 0.0) -> str:
    with store.stage() as stage:
        folder = stage / "model"
        folder.mkdir()
        (folder / "config.json").write_text(text)
        note = {"pass": "noop", "params": {"x": key}}
        digest = store.put(key, folder, ModelKind.HF, note).digest
    used = time.time() - days_old * 86_400
    os.utime(store.root / "actions" / f"{key}.json", (used, used))
    return digest


def names(store: Store) -> set[str]:
    return {artifact.digest for artifact in artifacts(store)}


def test_the_list_says_what_each_is_how_large_and_who_holds_it(tmp_path: Path) -> None:
    one, two = (Store(tmp_path / "store", tmp_path / name) for name in ("study1", "study2"))
    shared, own = put(one, "a", "xx"), put(one, "b", "y", days_old=1)
    assert two.lookup("a") is not None
    first, second = artifacts(Store(tmp_path / "store"))
    assert (first.digest, second.digest) == (shared, own)
    assert (first.bytes, second.bytes) == (2, 1)
    assert second.made_by == ("noop(x=b)",)
    assert {Path(s).name for s in first.studies} == {"study1", "study2"}
    assert [Path(s).name for s in second.studies] == ["study1"]
    assert not first.live


def test_by_age_by_size_and_all(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old, middle, new = (
        put(store, key, key * 10, days_old=days) for key, days in (("a", 40), ("b", 20), ("c", 0))
    )
    assert clean(store, older_than_s=30 * 86_400).artifacts == 1
    assert names(store) == {middle, new}
    assert old not in names(store)
    done = clean(store, size_budget=10)
    assert (done.artifacts, done.bytes) == (1, 10)
    assert names(store) == {new}
    assert clean(store, size_budget=10).artifacts == 0
    assert clean(store).artifacts == 1
    assert store.usage() == (0, 0)
    assert list((tmp_path / "staging").iterdir()) == []


def test_by_study_what_another_uses_stays(tmp_path: Path) -> None:
    one, two = (Store(tmp_path / "store", tmp_path / name) for name in ("study1", "study2"))
    shared, own = put(one, "a", "x"), put(one, "b", "y")
    two.lookup("a")
    assert clean(one, study=tmp_path / "study1").artifacts == 1
    assert names(one) == {shared}
    assert own not in names(one)
    with pytest.raises(UsageError, match="has no artifacts of the study"):
        clean(one, study=tmp_path / "study3")


def test_what_a_live_study_uses_stays_whatever_is_asked(tmp_path: Path) -> None:
    study = Study(tmp_path / "study")
    store = Store(tmp_path / "store", study.folder)
    held = put(store, "a", "x", days_old=90)
    put(Store(tmp_path / "store"), "b", "y", days_old=90)
    for conditions in ({}, {"older_than_s": 0.0}, {"size_budget": 0}, {"study": study.folder}):
        done = clean(Store(tmp_path / "store"), **conditions)  # type: ignore[arg-type]
        assert done.kept_live == 1, conditions
        assert names(store) == {held}
    study.close()
    assert clean(store).artifacts == 1


def test_what_is_being_built_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, "a", "x")
    with store.lock("a"):
        assert clean(Store(tmp_path)).artifacts == 0
    assert store.lookup("a") is not None


def orphan(store: Store, text: str) -> str:
    """Leave an object as a process does that is killed before it writes the action."""
    with store.lock("killed"):  # as whoever puts: a sweep takes a half-written action otherwise
        digest = put(store, "killed", text)
        (store.root / "actions" / "killed.json").unlink()
    return digest


def test_an_object_whose_action_was_never_written_is_listed_and_removed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, "a", "x")
    lost = orphan(store, "lost")
    found = next(each for each in artifacts(store) if each.digest == lost)
    assert (found.bytes, found.made_by, found.keys) == (4, ("not recorded how",), ())
    assert clean(store, older_than_s=3600).artifacts == 0
    assert clean(store, size_budget=4).artifacts == 1
    assert names(store) == {lost}
    assert clean(store).artifacts == 1
    assert store.usage() == (0, 0)


def test_an_object_that_got_its_action_since_the_list_was_made_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    lost = orphan(store, "x")
    listed = artifacts(store)
    put(store, "a", "x")
    monkeypatch.setattr("paretune.store.gc.artifacts", lambda store: listed)
    assert clean(store).artifacts == 0
    assert store.lookup("a") is not None
    assert names(store) == {lost}


def test_what_a_live_study_left_unrecorded_stays(tmp_path: Path) -> None:
    study = Study(tmp_path / "study")
    orphan(Store(tmp_path / "store", study.folder), "x")
    assert clean(Store(tmp_path / "store")).kept_live == 1
    study.close()
    assert clean(Store(tmp_path / "store")).artifacts == 1


CLEANER = """
import sys
from pathlib import Path
from paretune.store.gc import artifacts, clean
from paretune.store.artifacts import Store
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    artifacts(store); store.usage(); clean(store, older_than_s=-1.0); store.verify()
"""


def test_cleaners_beside_each_other_and_beside_builds_never_fail(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLEANER, str(tmp_path / "store"), "15"]
    store = Store(tmp_path / "store", tmp_path / "gone study")
    cleaners = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in cleaners:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in cleaners:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    while any(process.poll() is None for process in cleaners):
        for n in range(8):
            with store.lock(f"k{n}"):
                made = store.lookup(f"k{n}") or Model(
                    ModelKind.HF, tmp_path, put(store, f"k{n}", "x" * n)
                )
            store.is_intact(made.digest)
            try:
                lay_out(
                    replace(made, path=store.object_path(made.digest)),
                    RuntimeSettings(),
                    tmp_path / "package",
                    link=True,
                )
            except StateError as error:  # copied outside of a study that is searched: said, exit 4
                assert "Was the store cleaned" in str(error)
            shutil.rmtree(tmp_path / "package", ignore_errors=True)
        orphan(store, "lost")
    for process in cleaners:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    clean(store)
    assert store.usage() == (0, 0)
