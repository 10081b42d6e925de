"""The pick is measured on data that no choice has seen: once, durably, and never to choose by."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_study import search, write_fake_study

from paretune.config import load
from paretune.core.errors import StateError, UsageError
from paretune.core.jsontools import Json, read_json
from paretune.reporting.picking import pick_again
from paretune.reporting.reopened import rewrite_report
from paretune.search.confirm.held_out import Confirmation
from paretune.search.engine import Engine
from paretune.study.folder import Study, read_confirmed, read_outcomes
from paretune.study.pick_entry import sentences
from paretune.study.results import Results

ROWS = 40


def write(folder: Path, split: Json, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    rows = "".join(json.dumps({"p": f"phrase {i}", "a": "x"}) + "\n" for i in range(ROWS))
    (folder / "d.jsonl").write_text(rows)
    data = {"d": {"file": "d.jsonl", "prompt": "{p}", "answer": "{a}", "split": split}}
    given = {"evaluate": [{"readback": {"data": "d.test"}}], "data": data, **changes}
    return write_fake_study(
        folder, {"x": [1, 2], "quality": [0.8, 0.9], "speed": [5.0, 9.0]}, **given
    )


def confirms(folder: Path) -> dict[int, int]:
    """Return how often each candidate was measured on what was kept aside."""
    found = {o.id: sum(s.step == "confirm" for s in o.seconds) for o in read_outcomes(folder)}
    return {id: times for id, times in found.items() if times}


def test_the_pick_alone_is_measured_once_and_is_chosen_as_without(tmp_path: Path) -> None:
    plain = search(write(tmp_path / "a", {"test": 0.3})).results
    assert plain["pick"]["confirmed"] is None
    config = write(tmp_path / "b", {"test": 0.3, "confirm": 0.25})
    for _ in range(2):  # the second one goes on, and finds it done
        results = search(config).results
        assert results["best"] == plain["best"]
        told = results["pick"]["confirmed"]
        assert told.keys() == {"accuracy"}  # a speed was measured in the finals
        assert (told["accuracy"]["n"], told["accuracy"]["data"]) == (10, "d.confirm")
        assert confirms(tmp_path / "b" / "study") == {results["best"]: 1}
    rows = {
        c["id"]: c["metrics"]["accuracy"]["n"]
        for c in results["candidates"]
        if c["outcome"] == "ok"
    }
    assert set(rows.values()) == {12}  # what candidates are compared by is as it was
    assert "On the 10 examples of d.confirm, which no choice has seen" in " ".join(
        sentences(Results.from_json(results))
    )
    picked = pick_again(tmp_path / "b" / "study", "", [], [])
    assert picked["pick"]["confirmed"] == told
    assert "d.confirm" in rewrite_report(tmp_path / "b" / "study").read_text()


def test_another_pick_is_measured_too(tmp_path: Path) -> None:
    config = write(tmp_path, {"test": 0.3, "confirm": 0.25})
    first = search(config).results["best"]
    given = yaml.safe_load(config.read_text())
    given["objectives"] = {"minimize": "accuracy"}
    config.write_text(yaml.safe_dump(given))
    results = search(config).results
    second = results["best"]
    assert second != first
    assert confirms(tmp_path / "study") == {first: 1, second: 1}
    assert results["pick"]["confirmed"]["accuracy"]["value"] == pytest.approx(0.8)


def test_other_data_aside_is_measured_anew(tmp_path: Path) -> None:
    config = write(tmp_path, {"test": 0.3, "confirm": 0.25})
    best = search(config).results["best"]
    given = yaml.safe_load(config.read_text())
    given["data"]["d"]["split"]["confirm"] = 0.5
    config.write_text(yaml.safe_dump(given))
    results = search(config).results
    assert results["pick"]["confirmed"]["accuracy"]["n"] == 20
    assert confirms(tmp_path / "study") == {best: 2}


def test_one_that_is_interrupted_is_made_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write(tmp_path, {"test": 0.3, "confirm": 0.25})
    with monkeypatch.context() as patch:
        patch.setattr(Confirmation, "_measure", lambda self, outcome: interrupt())
        with pytest.raises(KeyboardInterrupt):
            search(config)
    assert confirms(tmp_path / "study") == {}
    assert not list((tmp_path / "study").glob("candidates/*/confirm.json"))
    assert search(config).results["pick"]["confirmed"]["accuracy"]["n"] == 10


def interrupt() -> None:
    raise KeyboardInterrupt


def test_without_time_it_is_left_to_the_next_search_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write(tmp_path, {"test": 0.3, "confirm": 0.25})
    told: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr("paretune.search.confirm.held_out.seconds_of", lambda engine: 1e6)
        patch.setattr(Confirmation, "_note", lambda self, text: told.append(text))
        patch.setattr(Engine, "left", lambda self: 1e5)
        results = search(config).results
    assert results["pick"]["confirmed"] is None
    (line,) = told
    assert "the same command with a larger --time does" in line
    assert search(config).results["pick"]["confirmed"] is not None


def test_what_another_artifact_yielded_is_not_read_back(tmp_path: Path) -> None:
    config = write(tmp_path, {"test": 0.3, "confirm": 0.25})
    best = search(config).results["best"]
    folder = tmp_path / "study"
    outcome = next(o for o in read_outcomes(folder) if o.id == best)
    assert read_confirmed(folder, outcome) is not None
    assert read_confirmed(folder, outcome, key=[{"evaluator": "another"}]) is None
    assert read_confirmed(folder, replace(outcome, artifact="sha256:other")) is None
    file = folder / "candidates" / f"{best:04d}" / "confirm.json"
    file.write_text(json.dumps({**read_json(file), "measurements": {"accuracy": 3}}))
    study = Study(folder)
    with pytest.raises(StateError, match=r"confirm\.json cannot be read"):
        study.confirmed(outcome, read_json(file)["key"])
    study.close()


@pytest.mark.parametrize("ref", ["d.confirm", "d"])
@pytest.mark.parametrize("where", ["train", "measure"])
def test_nothing_is_trained_or_measured_on_it_before(tmp_path: Path, ref: str, where: str) -> None:
    config = write(tmp_path, {"test": 0.3, "confirm": 0.25})
    given = yaml.safe_load(config.read_text())
    if where == "train":
        given["passes"] = [{"noop": {"x": 1, "train": ref}}]
    else:
        given["evaluate"] = [{"readback": {"data": ref}}]
    config.write_text(yaml.safe_dump(given))
    with pytest.raises(UsageError, match="holds out"):
        load(config)


def test_what_is_kept_aside_in_vain_and_texts_that_other_data_shares_are_told(
    tmp_path: Path,
) -> None:
    config = write(tmp_path, {"test": 0.3, "confirm": 0.25})
    given = yaml.safe_load(config.read_text())
    given["passes"] = [{"noop": {"x": 1, "train": "more"}}]
    given["data"]["more"] = {"file": "d.jsonl", "prompt": "{p}", "answer": "{a}"}
    config.write_text(yaml.safe_dump(given))
    assert any(
        note.startswith("10 of 10 rows of d.confirm have a text that more has too")
        for note in load(config).notes
    )
    given["passes"] = [{"noop": {"x": 1, "train": "d.train"}}]
    given["evaluate"] = ["readback"]
    config.write_text(yaml.safe_dump(given))
    assert any("no evaluator measures on d.test" in note for note in load(config).notes)
