import os
import time
from pathlib import Path

import pytest

from paretune.collecting import artifacts, clean
from paretune.errors import UsageError
from paretune.models import ModelKind
from paretune.store import Store
from paretune.study import Study


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
    with pytest.raises(UsageError, match="holds nothing for a study"):
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
