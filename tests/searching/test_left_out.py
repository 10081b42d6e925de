"""What stays true of a study of several devices when it is searched on fewer of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from fake_devices import BOARD, HERE, Named, search, write_devices_study
from fake_study import FakeSmokeWorkbench

from paretune.config import load
from paretune.core.errors import UsageError
from paretune.core.jsontools import Json, read_json
from paretune.display.live import make_display
from paretune.preflight.prepared import PreparedSearch
from paretune.searching.one import Search
from paretune.searching.running import search_plan
from paretune.study.folder import Study

LAPTOP = {"name": "laptop", "threads": [3]}


def rewritten(folder: Path, target: list[dict[str, Any]], **noop: Any) -> Path:
    """Write the configuration again, for other devices and with other values."""
    shutil.rmtree(folder / "model")
    return write_devices_study(folder, target, noop=noop)


def search_one(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Search a list with one device, as the command does."""

    def opened(name: str, declared: object, store_root: Path, permissions: object) -> Named:
        return Named(name, store_root)

    def made(prepared: PreparedSearch, study: Study, *args: Any, **options: Any) -> Search:
        factory = FakeSmokeWorkbench.of(prepared, study.folder)
        return Search(prepared, study, *args, job_factory=factory, **options)

    monkeypatch.setattr("paretune.config.targets.open_target", opened)
    monkeypatch.setattr("paretune.searching.running.Search", made)
    folder = config.parent
    search_plan(load(config), folder / "study", folder / "store", make_display(quiet=True), None)


def numbered(study: Path) -> dict[int, Json]:
    rows = read_json(study / "results.json")["candidates"]
    return {row["id"]: (row["recipe"], row["runtime"]) for row in rows}


def test_a_device_that_is_left_out_keeps_its_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No new candidate gets a number under which the others have figures of another one."""
    search(write_devices_study(tmp_path, [HERE, BOARD, LAPTOP]), monkeypatch)
    study = tmp_path / "study"
    places = [study, study / "devices" / "board", study / "devices" / "laptop"]
    search(rewritten(tmp_path, [HERE, BOARD], x=[1, 2, 3]), monkeypatch)
    search_one(rewritten(tmp_path, [HERE], x=[1, 2, 3, 4, 5]), monkeypatch)
    assert list(read_json(study / "results.json")["devices"]) == ["local", "board", "laptop"]
    known: dict[int, Json] = {}
    for place in places:
        for id, candidate in numbered(place).items():
            assert known.setdefault(id, candidate) == candidate
    assert len(known) == 3 + 4 + 6


def test_a_study_is_refused_if_only_another_device_than_its_main_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Named, "info", Named.__mro__[1].info)  # the same machine and packages
    search(write_devices_study(tmp_path, [HERE, BOARD]), monkeypatch)
    build = {"name": "local", "does": "build"}
    config = rewritten(tmp_path, [build, BOARD], x=[1, 2])
    with pytest.raises(UsageError, match="is of the device 'local', which is not in `target:`"):
        search_one(config, monkeypatch)
