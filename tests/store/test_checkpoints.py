"""Checkpoints in the store: what is read is what was written, and cleaning knows them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from paretune.store.artifacts import Store
from paretune.store.checkpoints import StoredCheckpoints, furthest, kept, verify
from paretune.store.gc import artifacts, clean
from paretune.study.folder import Study

KEY = "ab" * 32
NOTE = {"pass": "lora", "params": {"r": 4}}


def save(run: StoredCheckpoints, *places: int, stays: bool = True) -> None:
    for place in places:
        run.save(place, 10, partial(_write, place), stays=stays)


def _write(place: int, out: Path) -> None:
    (out / "state").write_text("x" * place)


def places(run: StoredCheckpoints, most: int = 10) -> list[int]:
    return [checkpoint.place for checkpoint in run.at_most(most)]


def test_the_last_one_up_to_a_place_comes_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run = StoredCheckpoints(store, KEY, NOTE)
    save(run, 2, 8, 4)
    assert places(run) == [8, 4, 2]
    assert places(run, 7) == [4, 2]
    first = next(run.at_most(7))
    assert (first.total, (first.folder / "state").read_text()) == (10, "xxxx")
    assert run.resumed == 4 / 7
    assert places(run, 1) == []
    assert run.resumed == 0.0
    assert furthest(store, KEY, 1.0) == 0.8
    assert furthest(store, KEY, 0.8) == 0.8
    assert furthest(store, KEY, 0.7) == 0.4
    assert furthest(store, "cd" * 32, 1.0) == 0.0


def test_what_does_not_stay_is_replaced_and_goes_at_the_end(tmp_path: Path) -> None:
    run = StoredCheckpoints(Store(tmp_path), KEY, NOTE)
    save(run, 1, 2, stays=False)
    assert places(run) == [2]
    save(run, 3)
    save(run, 4, stays=False)
    assert places(run) == [4, 3]
    run.finish()
    assert places(run) == [3]


def test_damage_is_found_and_told(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run = StoredCheckpoints(store, KEY, NOTE)
    save(run, 2, 4)
    (tmp_path / "checkpoints" / KEY / "4" / "state").write_text("xxxy")
    verify(store)
    assert len(store.faults) == 1
    assert "the checkpoint of lora at 4 cannot be used" in store.faults[0]
    assert places(run) == [2]


def test_a_write_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    run = StoredCheckpoints(Store(tmp_path), KEY, NOTE)
    save(run, 2, stays=False)

    def fail(out: Path) -> None:
        (out / "state").write_text("half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        run.save(4, 10, fail)
    assert places(run) == [2]
    assert list((tmp_path / "staging").iterdir()) == []


def test_the_store_lists_counts_and_cleans_them(tmp_path: Path) -> None:
    study = Study(tmp_path / "study")
    store = Store(tmp_path / "store", study.folder)
    run = StoredCheckpoints(store, KEY, NOTE)
    with run.held():
        save(run, 2, 4)
        assert clean(Store(tmp_path / "store")).artifacts == 0, "it runs"
    (found,) = artifacts(store)
    assert found.digest == f"checkpoint:{KEY}"
    assert found.made_by == ("checkpoints of lora(r=4): 2, 4",)
    assert found.studies == (str(study.folder.resolve()),)
    (one,) = kept(store)
    assert store.usage() == (1, one.bytes)
    assert found.bytes == one.bytes > 6
    assert clean(store).kept_live == 1
    study.close()
    assert clean(store, older_than_s=3600).artifacts == 0
    done = clean(store, study=study.folder)
    assert (done.artifacts, done.bytes) == (1, one.bytes)
    assert store.usage() == (0, 0)
    assert kept(store) == []
