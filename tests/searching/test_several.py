"""A study on several devices: each has its own figures, front and pick; builds are shared."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import Future
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_devices import BOARD, HERE, Named, search, write_devices_study
from fake_study import search as search_one

from paretune.cli.searching import _search, closing
from paretune.core.errors import StateError, TargetLostError, UsageError
from paretune.core.job import Job, JobResult, JobStatus
from paretune.core.jsontools import Json, read_json, write_json
from paretune.core.result import TrialResult
from paretune.display.live import Quiet
from paretune.preflight.dry_run import foresee, render
from paretune.reporting.devices_section import device_sentences, devices_section
from paretune.reporting.opened import open_study
from paretune.reporting.reopened import rewrite_report
from paretune.searching import several
from paretune.searching.one import Search, SearchResult
from paretune.store.artifacts import Store
from paretune.study.folder import Study
from paretune.study.results import SCHEMA_FILE, Results
from tests.core.test_machines import overlapping

TESTS = Path(__file__).resolve().parents[1]


def leases(study: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (study / "leases.jsonl").read_text().splitlines()]


def rows_of(study: Path) -> dict[int, Json]:
    return {row["id"]: row for row in read_json(study / "results.json")["candidates"]}


def test_each_device_has_its_own_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The board has other threads, so its times and the limit of its baseline are its own."""
    config = write_devices_study(
        tmp_path,
        [HERE, BOARD],
        noop={"speed": [5.0, 8.0]},
        baseline=[{"noop": {"x": 0, "speed": 6.0}}],
        constraints=["decode_ms_p50 <= baseline"],
        search={"strategy": "exhaustive", "finals": 0},
    )
    found = search(config, monkeypatch)
    results = found.results
    assert list(results["devices"]) == ["local", "board"]
    here, board = results["devices"].values()
    for key in ("device", "pareto", "best", "nearest_miss"):
        assert here[key] == results[key], "the first one's figures stand where they always do"
    assert here["device"]["fingerprint"] != board["device"]["fingerprint"]
    best = board["metrics"][str(board["best"])]["decode_ms_p50"]["value"]
    assert best == 2.5
    assert here["metrics"][str(here["best"])]["decode_ms_p50"]["value"] == 5.0
    outcomes = board["outcomes"].values()
    assert {each["outcome"] for each in outcomes} >= {"ok"}
    assert any(not each["feasible"] for each in outcomes), "its own baseline limits it"
    assert found.devices.keys() == {"local", "board"}
    assert found.best == tmp_path / "study" / "best"
    assert found.devices["board"] == tmp_path / "study" / "devices" / "board" / "best"
    for package in found.devices.values():
        assert package is not None
        assert (package / "recipe.yaml").is_file()
    with open(tmp_path / "study" / "results.csv", newline="", encoding="utf-8") as file:
        lines = {int(line["id"]): line for line in csv.DictReader(file)}
    assert lines.keys() == {int(id) for each in (here, board) for id in each["outcomes"]}
    for name, each in results["devices"].items():
        for id, metrics in each["metrics"].items():
            column = f"devices.{name}.decode_ms_p50"
            assert float(lines[int(id)][column]) == metrics["decode_ms_p50"]["value"]
    assert lines[board["best"]]["threads"] == "2", "the first device has not tried it"
    (told,) = (
        line for line in device_sentences(Results.from_json(results)) if "On board, ship" in line
    )
    assert told.endswith("on cpu with 2 threads.")
    assert "build: local" in (found.devices["board"] / "recipe.yaml").read_text()  # type: ignore[operator]


def test_each_device_repeats_its_pick_and_a_training_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "seeds"
    config = write_devices_study(
        tmp_path,
        [HERE, BOARD],
        passes=[{"seeded": {"x": 1, "luck": -0.1, "journal": str(journal)}}],
        baseline=[{"noop": {"x": 0, "quality": 0.5}}],
        search={"strategy": "exhaustive", "finals": 0, "repeat_pick": 2},
    )
    for _ in range(2):
        results = search(config, monkeypatch).results
        assert journal.read_text().split() == ["0", "1", "2"]
    for found in results["devices"].values():
        values = [run["metrics"]["accuracy"]["value"] for run in found["repeats"]["runs"]]
        assert values == pytest.approx([0.8, 0.7])
    told = device_sentences(Results.from_json(results))
    assert any(line.startswith("On board: Trained again with 2 other seeds") for line in told)
    assert len(rows_of(tmp_path / "study")) == 2, "repeats are no candidates"


def test_each_pick_is_measured_on_every_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The better model is too slow here, and is the board's pick; it is measured here, too."""
    config = write_devices_study(
        tmp_path,
        [HERE, BOARD],
        passes=[
            {
                "any": [
                    {"noop": {"x": 1, "speed": 4.0, "quality": 0.8}},
                    {"noop": {"x": 2, "speed": 8.0, "quality": 0.9}},
                ]
            }
        ],
        baseline=[{"noop": {"x": 0, "speed": 4.5, "quality": 0.7}}],
        constraints=["decode_ms_p50 <= 5"],
    )
    results = search(config, monkeypatch).results
    here, board = results["picks"]
    assert (here["of"], board["of"]) == ("local", "board")
    assert here["id"] != board["id"]
    too_slow = board["on"]["local"]
    assert not too_slow["feasible"]
    assert too_slow["values"]["decode_ms_p50"]["value"] == 8.0
    assert too_slow["values"]["decode_ms_p50"]["cost"] == pytest.approx(1.0)
    worse = here["on"]["board"]
    assert worse["feasible"]
    assert worse["values"]["accuracy"]["cost"] == pytest.approx(1 / 9)
    assert (results["one_for_all"]["of"], results["one_for_all"]["metric"]) == ("local", "accuracy")
    report = (tmp_path / "study" / "report.html").read_text()
    assert "The devices compared" in report
    assert '<a href="devices/board/report.html">' in report
    assert "100.0% worse" in report
    assert "does not meet every constraint there" in report
    told = "\n".join(device_sentences(Results.from_json(results)))
    assert f"On board, ship candidate {board['id']}" in told
    assert f"candidate {here['id']} (the pick for local) costs least: at most 11.1%" in told
    rows = read_json(tmp_path / "study" / "results.json")["candidates"]
    assert search(config, monkeypatch).results["candidates"] == rows, "nothing is left to measure"


def test_a_pick_of_another_device_is_no_trial_when_the_search_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = {"noop": {"x": 2, "speed": 8.0, "quality": 0.9}}
    config = write_devices_study(
        tmp_path,
        [HERE, BOARD],
        passes=[
            {
                "any": [
                    {"noop": {"x": 1, "speed": 4.0, "quality": 0.8}},
                    slow,
                    {"noop": {"x": 3, "speed": 4.2, "quality": 0.75}},
                ]
            }
        ],
        baseline=[{"noop": {"x": 0, "speed": 4.5, "quality": 0.7}}],
        constraints=["decode_ms_p50 <= 5"],
        search={"strategy": "exhaustive", "finals": 0},
    )
    search(config, monkeypatch, trials=3)
    again = next(
        row for row in rows_of(tmp_path / "study").values() if row["recipe"] == [_as(slow)]
    )
    assert again["rung"] == "full", "the board's pick was measured here once more, completely"
    study = Study(tmp_path / "study")
    try:
        assert study.trials() == 3
    finally:
        study.close()
    search(config, monkeypatch, trials=4)
    for place in (".", "devices/board"):
        assert len(rows_of(tmp_path / "study" / place)) == 4, "the last candidate is tried"


def _as(step: dict[str, Any]) -> dict[str, Any]:
    ((name, params),) = step.items()
    return {"pass": name, "params": params}


def test_builds_are_made_once_and_never_beside_a_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_devices_study(tmp_path, [{**HERE, "slots": 2}, BOARD])
    search(config, monkeypatch)
    assert sorted((tmp_path / "builds").read_text().split()) == ["1", "2"]
    ran = leases(tmp_path / "study")
    assert {line["who"] for line in ran} == {"local", "board"}
    assert {line["kind"] for line in ran} == {"measure", "build", "choose"}
    assert len({line["machine"] for line in ran}) == 1, "both are this machine"
    assert not overlapping(ran)
    lines = (tmp_path / "journal").read_text().splitlines()
    measured = sorted(tuple(map(float, line.split()[1:])) for line in lines)
    assert len(measured) >= 2 * 3 * 2, "two rungs of three candidates on two devices"
    assert all(one[1] <= other[0] for one, other in pairwise(measured))


def test_a_candidate_has_one_number_on_all_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = {"threads": [1, 2]}
    config = write_devices_study(tmp_path, [{**HERE, **both}, {**BOARD, **both}])
    search(config, monkeypatch)
    here, board = rows_of(tmp_path / "study"), rows_of(tmp_path / "study" / "devices" / "board")
    assert here.keys() == board.keys()
    for id, row in here.items():
        assert (row["recipe"], row["runtime"]) == (board[id]["recipe"], board[id]["runtime"])
    assert here[1]["recipe"] == read_json(tmp_path / "study" / "results.json")["baseline"]["recipe"]


def test_the_study_of_a_device_is_a_whole_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import jsonschema

    result = search(write_devices_study(tmp_path, [HERE, BOARD]), monkeypatch)
    results, outcomes = open_study(tmp_path / "study" / "devices" / "board")
    assert [row.id for row in results.candidates] == [outcome.id for outcome in outcomes]
    assert list(results.devices) == ["board"]
    jsonschema.validate(result.results, read_json(SCHEMA_FILE))
    config = (tmp_path / "study" / "devices" / "board" / "config.yaml").read_text()
    assert "measure: board" in config


class Counting(Quiet):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.ended: list[tuple[str, int]] = []

    def outcome(self, outcome: TrialResult, best: TrialResult | None, front: int) -> None:
        self.ended.append((self.device, outcome.id))

    def note(self, text: str) -> None:
        self.told.append((self.device, text))


def test_the_display_is_told_which_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    display = Counting()
    search(write_devices_study(tmp_path, [HERE, BOARD]), monkeypatch, display)
    assert {name for name, _ in display.ended} == {"local", "board"}
    assert len(display.ended) == 6
    assert len({text.partition(": ")[2] for _, text in display.told}) == len(display.told)


KILL = """
import os, signal, sys
from pathlib import Path
import pytest
import yaml
from fake_devices import search
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


class Away(Named):
    """A device that is lost at its third measurement."""

    measured = 0

    def submit(self, job: Job) -> Future[JobResult]:
        if job.kind == "measure":
            Away.measured += 1
        if Away.measured < 3:
            return super().submit(job)
        error = TargetLostError("the board is away")
        future: Future[JobResult] = Future()
        lost = JobResult(JobStatus.CRASHED, None, str(error), transient=True, lost=error)
        future.set_result(lost)
        return future


def test_where_one_device_stays_away_the_others_are_searched_to_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paretune.search.lost_targets.time.sleep", lambda seconds: None)
    monkeypatch.setattr(Away, "measured", 0)
    config = write_devices_study(tmp_path, [HERE, BOARD])
    with pytest.raises(TargetLostError, match="the board is away") as caught:
        search(config, monkeypatch, targets={"board": Away})
    assert caught.value.exit_status == 2
    results = read_json(tmp_path / "study" / "results.json")
    assert results["status"] == results["devices"]["local"]["status"] == "finished"
    assert results["devices"]["board"]["status"] == "interrupted"
    assert len(results["devices"]["local"]["outcomes"]) == 3
    assert not any(
        row["outcome"] == "crashed" for row in results["devices"]["board"]["outcomes"].values()
    )
    again = search(config, monkeypatch).results
    assert again["devices"]["board"]["status"] == "finished"
    assert len(again["devices"]["board"]["outcomes"]) == 3


class Interrupting(Quiet):
    """Sends the signal of Ctrl-C once a candidate has ended."""

    sent = False

    def outcome(self, outcome: TrialResult, best: TrialResult | None, front: int) -> None:
        if not self.sent:
            self.sent = True
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_ends_all_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noop = {"x": [1, 2, 3, 4, 5, 6, 7, 8]}
    config = write_devices_study(tmp_path, [HERE, BOARD], noop=noop)
    with pytest.raises(KeyboardInterrupt):
        search(config, monkeypatch, Interrupting())
    results = read_json(tmp_path / "study" / "results.json")
    assert results["status"] == "interrupted"
    assert {each["status"] for each in results["devices"].values()} == {"interrupted"}
    again = search(config, monkeypatch).results
    for device in again["devices"].values():
        assert len(device["outcomes"]) == 9
    assert sorted((tmp_path / "builds").read_text().split()) == list("12345678")


def test_time_is_counted_once_and_trials_for_each_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search_ = {"strategy": "exhaustive", "trials": 2}
    config = write_devices_study(tmp_path, [HERE, BOARD], search=search_)
    results = search(config, monkeypatch).results
    for device in results["devices"].values():
        assert len(device["outcomes"]) == 2
    place = tmp_path / "study" / "devices" / "board"
    board = Study(place)
    board.waste(1000.0)
    board.close()
    write_json(tmp_path / "before.json", read_json(tmp_path / "study" / "results.json"))
    search(config, monkeypatch, time="900s")
    studies = [Study(place), Study(tmp_path / "study")]
    try:
        spent = [study.spent() for study in studies]
        assert min(spent) >= 1000.0
        assert abs(spent[0] - spent[1]) < 60.0
    finally:
        for study in studies:
            study.close()
    assert len(rows_of(tmp_path / "study")) == 2, "no time was left for another trial"


def test_where_no_time_is_left_the_cost_of_a_pick_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One device ended early; the time that the other one used is the whole study's."""
    config = write_devices_study(
        tmp_path,
        [HERE, BOARD],
        baseline=[{"noop": {"x": 0, "speed": 4.5, "quality": 0.7}}],
        constraints=["decode_ms_p50 <= 5"],
        passes=[
            {
                "any": [
                    {"noop": {"x": 1, "speed": 4.0, "quality": 0.8}},
                    {"noop": {"x": 2, "speed": 8.0, "quality": 0.9}},
                ]
            }
        ],
    )
    side_by_side = several._side_by_side

    def slow(devices: Any, work: Any) -> None:
        side_by_side(devices, work)
        devices[1].study.waste(1000.0)

    monkeypatch.setattr(several, "_side_by_side", slow)
    results = search(config, monkeypatch, time="900s").results
    _, board = results["picks"]
    assert board["on"]["local"]["id"] is None
    assert results["devices"]["local"]["status"] == "finished"


def test_an_error_in_what_a_device_writes_at_the_end_keeps_no_other_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = Search.finish

    def broken(self: Search, status: str) -> SearchResult:
        if self._study.folder.name == "board":
            raise StateError("the store is damaged")
        return finish(self, status)

    monkeypatch.setattr(Search, "finish", broken)
    config = write_devices_study(tmp_path, [HERE, BOARD])
    with pytest.raises(StateError, match="the store is damaged"):
        search(config, monkeypatch)
    results = read_json(tmp_path / "study" / "results.json")
    assert results["status"] == "finished"
    assert (tmp_path / "study" / "best" / "recipe.yaml").is_file()


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


def test_the_dry_run_looks_at_each_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paretune.config.targets.open_target", _opened)
    config = write_devices_study(tmp_path, [{**HERE, "threads": [1, 2]}, BOARD])
    found = foresee(config, study=tmp_path / "study", store=tmp_path / "store")
    assert list(found["devices"]) == ["local", "board"]
    assert found["candidates"] == found["devices"]["local"]["candidates"] == 4
    assert found["devices"]["board"]["candidates"] == 2
    text = render(found)
    assert "on local\n" in text
    assert "on board\n" in text


def _opened(name: str, declared: object, store_root: Path, permissions: object) -> Named:
    return Named(name, store_root)


def test_the_command_ends_with_what_to_ship_on_each_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the board nothing is fast enough: the status says that nothing is feasible there."""
    config = write_devices_study(
        tmp_path,
        [{**BOARD, "threads": [1]}, {**HERE, "threads": [2]}],
        noop={"x": 1, "speed": 8.0},
        constraints=["decode_ms_p50 <= 5"],
    )
    found = search(config, monkeypatch)
    assert found.best is None
    lines = closing(found)
    assert "No candidate meets every constraint." in lines
    assert any(line.startswith("On local, ship candidate") for line in lines)
    assert f"package for local: {tmp_path / 'study' / 'devices' / 'local' / 'best'}" in lines
    monkeypatch.setattr("paretune.api.optimize", lambda *args, **options: found)
    assert _search(config, as_json=False) == 3
