"""Runs that stop and continue, in whole searches: the pass, its worker and the study are real."""

from __future__ import annotations

import json
from concurrent.futures import FIRST_COMPLETED
from concurrent.futures import wait as wait_for
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_study import search, write_fake_study

from paretune.core.result import StepTime
from paretune.preflight.dry_run import foresee
from paretune.search import scheduler
from paretune.store.artifacts import Store
from paretune.store.checkpoints import kept
from paretune.store.gc import clean
from paretune.study.folder import Study


def _study(folder: Path, **params: Any) -> tuple[Path, Path]:
    journal = folder / "journal"
    count = {"x": 1, "journal": str(journal), **params}
    return write_fake_study(folder, {}, passes=[{"count": count}]), journal


def _steps(journal: Path) -> list[int]:
    return list(map(int, journal.read_text().split())) if journal.is_file() else []


def _builds(results: dict[str, Any]) -> list[StepTime]:
    return [
        StepTime.from_json(step)
        for row in results["candidates"]
        for step in row["seconds"]
        if step["step"] == "count"
    ]


def test_stops_are_rungs_of_one_run(tmp_path: Path) -> None:
    config, journal = _study(tmp_path, steps=9, stop_at=[6, 3, None])
    found = foresee(config, store=tmp_path / "store")
    assert (found["trainings"], found["builds"]) == (1, 4)
    results = search(config).results
    assert [row["outcome"] for row in results["candidates"]] == ["ok"] * 4
    # The first run passes the other stop; the second one takes its state and does nothing.
    assert _steps(journal) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    resumed = [step.resumed for step in _builds(results)]
    assert resumed == [0.0, 1.0, pytest.approx(6 / 9)]
    store = Store(tmp_path / "store")
    assert [run.places for run in kept(store)] == [(3, 6)]
    assert clean(store).artifacts == 3 + 1 + 1
    assert kept(store) == []


def test_one_run_has_one_slot(tmp_path: Path) -> None:
    """Its stops do not run beside each other: each waits for the state of the one before."""
    config, journal = _study(tmp_path, steps=6, stop_at=[2, 4, None])
    document = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**document, "search": {"builds": 3}}))
    results = search(config).results
    assert _steps(journal) == [1, 2, 3, 4, 5, 6]
    assert [step.resumed for step in _builds(results)] == [0.0, 0.5, pytest.approx(4 / 6)]


@pytest.mark.parametrize("how", ["deadline", "interrupt"])
def test_a_run_at_the_end_of_a_search_continues_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    config, journal = _study(tmp_path, waits_at=4)

    def end_in_step_four(futures: Any, timeout: Any = None, return_when: str = "") -> Any:
        if return_when != FIRST_COMPLETED:
            return wait_for(futures, timeout)
        while _steps(journal)[-1:] != [4]:
            if wait_for(futures, 0.05).done:
                return wait_for(futures, 0.0)
        if how == "interrupt":
            raise KeyboardInterrupt
        return wait_for([], 0.0)

    with monkeypatch.context() as patch:
        patch.setattr(scheduler, "wait", end_in_step_four)
        if how == "interrupt":
            with pytest.raises(KeyboardInterrupt):
                search(config)
        else:
            assert [row["id"] for row in search(config).results["candidates"]] == [1]
    assert _steps(journal) == [1, 2, 3, 4]
    study = Study(tmp_path / "study")
    try:
        steps = sum(s.s for o in study.outcomes for s in o.seconds if not s.cached)
        assert study.spent() > steps, "what the run took counts"
    finally:
        study.close()
    (run,) = kept(Store(tmp_path / "store"))
    assert run.places == (4,)
    results = search(config).results
    assert [row["outcome"] for row in results["candidates"]] == ["ok", "ok"]
    assert _steps(journal) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert [step.resumed for step in _builds(results)] == [0.4]
    assert kept(Store(tmp_path / "store")) == [], "a run without stops needs it no more"
    written = json.loads((tmp_path / "study" / "results.json").read_text())
    assert written["candidates"] == results["candidates"]
