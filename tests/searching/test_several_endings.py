"""A search on several devices ends: a device is lost, an interrupt, no time, an error."""

from __future__ import annotations

import os
import signal
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from fake_devices import BOARD, HERE, Named, rows_of, search, write_devices_study

from paretune.core.errors import StateError, TargetLostError
from paretune.core.job import Job, JobResult, JobStatus
from paretune.core.jsontools import read_json, write_json
from paretune.core.result import TrialResult
from paretune.display.live import Quiet
from paretune.searching import several
from paretune.searching.one import Search, SearchResult
from paretune.study.folder import Study


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
