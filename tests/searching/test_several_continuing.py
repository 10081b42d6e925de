"""A study on several devices continues: after a kill, with other devices, in another order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from fake_devices import BOARD, HERE, Named, leases, search, write_devices_study
from fake_study import search as search_one

from paretune.core.errors import StateError, UsageError
from paretune.core.jsontools import read_json, write_json
from paretune.reporting.devices_section import device_sentences, devices_section
from paretune.reporting.opened import open_study
from paretune.reporting.reopened import rewrite_report
from paretune.store.artifacts import Store
from tests.core.test_machines import overlapping

TESTS = Path(__file__).resolve().parents[1]


KILL = """
import os, signal, sys
from pathlib import Path
import pytest
from fake_devices import search, leases
from paretune.study.folder import Study
record = Study.record
ended = []
def cut(self, outcome):
    record(self, outcome)
    ended.append(self.folder.name)
    if ended.count("board") == 2 and ended.count("study") >= 1:
        os.kill(os.getpid(), signal.SIGKILL)
Study.record = cut
search(Path(sys.argv[1]), pytest.MonkeyPatch())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="workers die with their parent on Linux")
def test_a_killed_study_continues_on_all_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noop = {"x": [1, 2, 3, 4]}
    config = write_devices_study(tmp_path, [HERE, BOARD], noop=noop)
    paths = os.pathsep.join(map(str, (TESTS / "plugins", TESTS.parent)))
    ended = subprocess.run(
        [sys.executable, "-c", KILL, str(config)],
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    study = tmp_path / "study"
    before = {
        place: {
            file.parent.name: file.read_bytes()
            for file in (study / place).glob("candidates/*/outcome.json")
        }
        for place in (".", "devices/board")
    }
    assert len(before["devices/board"]) == 2
    kept = [str(a.note["params"]["x"]) for a in Store(tmp_path / "store").actions()]
    rewrite_report(study)  # of what there is so far
    results = search(config, monkeypatch).results
    for place, outcomes in before.items():
        for name, content in outcomes.items():
            now = read_json(study / place / "candidates" / name / "outcome.json")
            was = json.loads(content)
            for key in ("candidate", "outcome", "seconds"):
                assert now.get(key) == was.get(key), "what had ended was not done again"
    for device in results["devices"].values():
        assert len(device["outcomes"]) == 5
        assert device["status"] == "finished"
    builds = Counter((tmp_path / "builds").read_text().split())
    assert sorted(builds) == list("1234")
    assert {builds[x] for x in kept if x in builds} <= {1}, "what was in the store stays built"
    assert builds.total() <= 4 + 1, "only the build that was in flight runs again: one slot"
    assert not overlapping(leases(study))


def test_a_device_may_come_later_and_the_order_may_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_devices_study(tmp_path, [HERE, BOARD])
    alone = config.with_name("alone.yaml")
    text = config.read_text()
    name = "- name: board\n  threads:\n  - 2\n"
    assert name in text
    alone.write_text(text.replace(name, ""))
    search_one(alone, target=Named("local", tmp_path / "store"))
    first = read_json(tmp_path / "study" / "results.json")
    assert list(first["devices"]) == ["local"]
    assert not (tmp_path / "study" / "devices.json").exists()
    found = search(config, monkeypatch).results
    assert list(found["devices"]) == ["local", "board"]
    assert found["candidates"] == first["candidates"], "the main device has nothing left to do"
    assert sorted((tmp_path / "builds").read_text().split()) == ["1", "2"], "built once"
    here = "- name: local\n  threads:\n  - 1\n"
    config.write_text(text.replace(here, "").replace(name, name + here))
    again = search(config, monkeypatch).results
    assert list(again["devices"]) == ["local", "board"]
    assert again["candidates"] == found["candidates"]
    assert again["config"] == found["config"], "the order is not part of it"


def test_a_study_of_another_main_device_is_refused_and_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop = {"name": "laptop", "threads": [2]}
    config = write_devices_study(tmp_path, [HERE, BOARD])
    search(config, monkeypatch)
    before = {f: f.read_bytes() for f in (tmp_path / "study").rglob("*.json")}
    other = write_devices_study(
        tmp_path / "other", [{"name": "local", "does": "build"}, BOARD, laptop]
    )
    other.rename(tmp_path / "other.yaml")
    (tmp_path / "other.yaml").write_text(
        (tmp_path / "other.yaml").read_text().replace(str(tmp_path / "other"), str(tmp_path))
    )
    told = r"is of the device 'local', which is not in `target:` \(board, laptop\)"
    with pytest.raises(UsageError, match=told):
        search(tmp_path / "other.yaml", monkeypatch)
    assert before == {f: f.read_bytes() for f in (tmp_path / "study").rglob("*.json")}


def test_a_device_that_is_left_out_keeps_its_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop = {"name": "laptop", "threads": [3]}
    config = write_devices_study(tmp_path, [HERE, BOARD, laptop])
    whole = search(config, monkeypatch).results
    config.write_text(config.read_text().replace("- name: laptop\n  threads:\n  - 3\n", ""))
    fewer = search(config, monkeypatch).results
    assert fewer["devices"]["laptop"] == whole["devices"]["laptop"]
    results, _ = open_study(tmp_path / "study")
    assert list(results.devices) == ["local", "board", "laptop"]


def test_a_device_that_is_left_out_is_not_compared_by_other_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop = {"name": "laptop", "threads": [3]}
    config = write_devices_study(tmp_path, [HERE, BOARD, laptop])
    before = search(config, monkeypatch).results
    assert "not_compared" not in before["devices"]["laptop"]
    fewer = yaml.safe_load(config.read_text())
    fewer["target"] = fewer["target"][:2]
    fewer["constraints"] = ["decode_ms_p50 <= 1000"]
    config.write_text(yaml.safe_dump(fewer))
    found = search(config, monkeypatch).results
    laptop_now = found["devices"]["laptop"]
    assert laptop_now["best"] == before["devices"]["laptop"]["best"]
    assert laptop_now["not_compared"].startswith("its search had other objectives or limits")
    assert "not_compared" not in found["devices"]["board"]
    assert [list(pick["on"]) for pick in found["picks"]] == [["local", "board"]] * 2
    results, _ = open_study(tmp_path / "study")
    told = device_sentences(results)
    assert any(line.startswith("laptop is not compared") for line in told)
    assert not any(line.startswith("On laptop") for line in told)
    section = devices_section(results)
    assert section is not None
    assert section.devices == ("local", "board")


def test_a_study_of_a_device_that_was_searched_by_itself_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = {"threads": [1, 2]}
    config = write_devices_study(tmp_path, [{**HERE, **both}, {**BOARD, **both}])
    search(config, monkeypatch)
    candidates = tmp_path / "study" / "devices" / "board" / "candidates"
    for one, other in (("0002", "aside"), ("0003", "0002"), ("aside", "0003")):
        (candidates / one).rename(candidates / other)
    for name in ("0002", "0003"):
        for file in (candidates / name).glob("outcome.json"):
            write_json(file, {**read_json(file), "id": int(name)})
    with pytest.raises(StateError, match="numbers candidates otherwise"):
        search(config, monkeypatch)
