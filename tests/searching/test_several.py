"""A study on several devices: each has its own figures, front and pick; builds are shared."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fake_devices import BOARD, HERE, Named, leases, rows_of, search, write_devices_study

from paretune.cli.searching import _search, closing
from paretune.core.jsontools import read_json
from paretune.core.result import TrialResult
from paretune.display.live import Quiet
from paretune.preflight.dry_run import foresee, render
from paretune.reporting.devices_section import device_sentences
from paretune.reporting.opened import open_study
from paretune.study.folder import Study
from paretune.study.results import SCHEMA_FILE, Results
from tests.core.test_machines import overlapping


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
