"""The pick's recipe with other training seeds: made once, durably, and never to choose by."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_search import FakeTarget, FakeWorkbench, Memory, make_engine, noop
from fake_study import search, write_fake_study

from paretune.config import load
from paretune.core.candidate import Candidate
from paretune.core.errors import ConfigError
from paretune.core.job import BuildResult, Job
from paretune.core.jsontools import Json
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.reporting.answer import plain_answer
from paretune.reporting.opened import open_study
from paretune.reporting.reopened import rewrite_report
from paretune.search.engine import Engine
from paretune.search.repeated_pick import RepeatedPick, kept_for_repeats
from paretune.study.folder import Study
from paretune.study.results import Results


def write(folder: Path, count: int = 2, luck: float = -0.03, **given: Any) -> Path:
    """Write a study of trainings with two qualities; `journal` has the seed of each training."""
    folder.mkdir(exist_ok=True)
    params = {"x": [1, 2], "quality": [0.8, 0.9], "luck": luck, "journal": str(folder / "journal")}
    config = write_fake_study(folder, {})
    changed = {
        **yaml.safe_load(config.read_text()),
        "passes": [{"seeded": {**params, **given}}],
        "baseline": [{"noop": {"x": 0, "quality": 0.5}}],
        "search": {"strategy": "exhaustive", "finals": 0, "repeat_pick": count},
    }
    config.write_text(yaml.safe_dump(changed))
    return config


def change(config: Path, **given: Any) -> None:
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **given}))


def trained(folder: Path) -> list[int]:
    """Return the seeds of all trainings but the first ones, in order."""
    return [int(seed) for seed in (folder / "journal").read_text().split() if seed != "0"]


def chosen_by(results: Any) -> dict[str, Json]:
    """Return what must not depend on repeats."""
    names = ("best", "pareto", "nearest_miss", "near_limits", "no_difference")
    return {name: results[name] for name in names} | {
        "candidates": [
            (row["id"], row["outcome"], row["artifact"], row["metrics"]["accuracy"]["value"])
            for row in results["candidates"]
        ]
    }


def test_the_pick_is_repeated_once_and_chosen_as_without(tmp_path: Path) -> None:
    plain = search(write(tmp_path / "a", 0)).results
    assert "repeats" not in plain
    config = write(tmp_path / "b")
    for _ in range(2):  # the second one goes on, and finds it done
        results = search(config).results
    assert trained(tmp_path / "b") == [1, 2]
    assert chosen_by(results) == chosen_by(plain)
    told = results["repeats"]
    assert (told["id"], told["asked"], told["reason"]) == (results["best"], 2, None)
    assert (told["seeds"], [run["seeds"] for run in told["runs"]]) == ([0], [[1], [2]])
    assert [run["metrics"]["accuracy"]["value"] for run in told["runs"]] == pytest.approx(
        [0.87, 0.84]
    )
    assert told["spread"]["accuracy"] == pytest.approx(
        {"n": 3, "lowest": 0.84, "highest": 0.9, "mean": 0.855}
    )
    speed = told["runs"][0]["metrics"]["decode_ms_p50"]  # the fake's structure is its own
    assert speed["value"] is None
    assert "not measured again" in speed["reason"]


def test_repeats_are_told_in_report_card_and_answer(tmp_path: Path) -> None:
    found = search(write(tmp_path))
    results = Results.from_json(found.results)
    (line,) = [s for s in plain_answer(results) if s.startswith("Trained again")]
    assert line == (
        "Trained again with 2 other seeds, its accuracy is 0.87, 0.84 (mean 0.855); with the "
        "pick's own, the values lie between 0.84 and 0.9."
    )
    assert found.best is not None
    card = (found.best / "model_card.md").read_text()
    assert "| 0 (this model) | 0.9" in card
    assert "| 2 | 0.84" in card
    report = rewrite_report(tmp_path / "study").read_text()
    assert "The pick with other training seeds" in report
    assert line.replace("'", "&#39;") in report


def test_a_range_beyond_the_distance_to_the_next_training_is_a_warning(tmp_path: Path) -> None:
    config = write(tmp_path, 2, -0.06, quality=[0.8, 0.9])
    change(config, objectives={"maximize": "accuracy"})
    results = search(config).results
    told = results["repeats"]
    by_id = {row["id"]: row["metrics"]["accuracy"]["value"] for row in results["candidates"]}
    assert by_id[told["next"]] == pytest.approx(0.9)  # x is the other one: another training
    assert told["within_noise"] == ["accuracy"]
    assert [run["best"] for run in told["runs"]] == [told["next"]] * 2
    text = " ".join(plain_answer(Results.from_json(results)))
    assert f"from candidate {told['next']}, which would be chosen without this training" in text
    assert f"With the values of training seed 1, candidate {told['next']} would be chosen." in text


def test_builds_of_the_same_training_are_no_other_choice(tmp_path: Path) -> None:
    config = write(tmp_path, 1, -0.001, x=1, quality=0.9)
    given = yaml.safe_load(config.read_text())
    change(config, passes=[*given["passes"], {"noop": {"x": [5, 6]}}])
    told = search(config).results["repeats"]
    row = next(r for r in search(config).results["candidates"] if r["id"] == told["next"])
    assert row["recipe"] == [
        {"pass": "noop", "params": {"x": 0, "quality": 0.5}}
    ]  # the baseline trains nothing
    assert trained(tmp_path) == [1]  # shared by nobody, and built once


def test_a_limit_that_a_repeat_breaks_changes_the_choice(tmp_path: Path) -> None:
    config = write(tmp_path, 1, -0.1, x=1)
    change(config, constraints=["accuracy >= 0.85"])
    told = search(config).results["repeats"]
    (run,) = told["runs"]
    assert run["best"] != told["id"]


def test_a_repeat_that_fails_is_a_result(tmp_path: Path) -> None:
    config = write(tmp_path, 2, fails_at=1)
    for _ in range(2):
        results = search(config).results
    assert trained(tmp_path) == [1, 2]
    first, second = results["repeats"]["runs"]
    assert (first["outcome"], second["outcome"]) == ("failed", "ok")
    assert results["repeats"]["spread"]["accuracy"]["n"] == 2
    assert "With training seed 1 the recipe ended as failed" in " ".join(
        plain_answer(Results.from_json(results))
    )


def test_an_interrupted_one_leaves_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, measured = write(tmp_path), RepeatedPick._measured

    def interrupt(self: RepeatedPick, pick: TrialResult, candidate: Candidate) -> TrialResult:
        if trained(tmp_path):
            raise KeyboardInterrupt
        return measured(self, pick, candidate)

    with monkeypatch.context() as patch:
        patch.setattr(RepeatedPick, "_measured", interrupt)
        with pytest.raises(KeyboardInterrupt):
            search(config)
    assert trained(tmp_path) == [1]
    opened, _ = open_study(tmp_path / "study")  # results.json is older than the repeat
    assert opened.repeats is not None
    assert [run.seeds for run in opened.repeats.runs] == [[1]]
    assert len(search(config).results["repeats"]["runs"]) == 2
    assert trained(tmp_path) == [1, 2]


_KILL = """
import os, signal, sys
from pathlib import Path
from fake_study import search
from paretune.study.folder import Study
add = Study.add_repeat
def cut(self, outcome, repeat):
    add(self, outcome, repeat)
    os.kill(os.getpid(), signal.SIGKILL)
Study.add_repeat = cut
search(Path(sys.argv[1]))
"""


def test_a_killed_search_makes_only_what_is_missing(tmp_path: Path) -> None:
    config = write(tmp_path, 3)
    for count in (1, 2):
        ended = subprocess.run(
            [sys.executable, "-c", _KILL, str(config)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
            capture_output=True,
        )
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        assert trained(tmp_path) == list(range(1, count + 1))
    assert len(search(config).results["repeats"]["runs"]) == 3
    assert trained(tmp_path) == [1, 2, 3]


def test_more_repeats_add_to_those_that_are_there(tmp_path: Path) -> None:
    config = write(tmp_path, 1)
    search(config)
    change(config, search={"strategy": "exhaustive", "finals": 0, "repeat_pick": 3})
    assert len(search(config).results["repeats"]["runs"]) == 3
    assert trained(tmp_path) == [1, 2, 3]


def test_another_pick_is_repeated_too(tmp_path: Path) -> None:
    config = write(tmp_path, 1)
    first = search(config).results["repeats"]
    change(config, objectives={"minimize": "accuracy"}, constraints=["accuracy >= 0.8"])
    second = search(config).results["repeats"]
    assert second["id"] != first["id"]
    assert trained(tmp_path) == [1, 1]
    change(config, objectives={"maximize": "accuracy", "minimize": "decode_ms_p50"}, constraints=[])
    again = search(config).results["repeats"]
    assert again == first
    assert trained(tmp_path) == [1, 1]


def test_what_is_valid_for_something_else_is_made_again_and_stays_spent(tmp_path: Path) -> None:
    config = write(tmp_path, 1)
    search(config)
    (file,) = (tmp_path / "study" / "repeats").glob("*.json")
    text = file.read_text()
    study = Study(tmp_path / "study")
    spent = study.spent()
    study.close()
    key = text.split('"key":"')[1][:64]
    file.write_text(text.replace(key, "0" * 64))
    told = search(config).results["repeats"]
    assert len(told["runs"]) == 1
    assert file.read_text() != text
    study = Study(tmp_path / "study")
    assert study.spent() > spent
    study.close()


def test_without_a_training_it_is_refused_or_said(tmp_path: Path) -> None:
    config = write(tmp_path)
    change(config, baseline=[{"noop": {"x": 0, "quality": 0.95}}])
    results = search(config).results
    assert results["best"] == 1
    assert results["repeats"]["runs"] == []
    assert "no pass of the pick (candidate 1) trains with a seed" in results["repeats"]["reason"]
    assert trained(tmp_path) == []
    change(config, passes=[{"fake_train": {"x": [1, 2]}}])  # it trains, and has no seed
    with pytest.raises(ConfigError, match="no pass of this configuration trains with a seed") as at:
        load(config)
    assert at.value.key == "search.repeat_pick"


class Seeded(FakeWorkbench):
    """Jobs whose candidates have a seed: the parameter of this name."""

    def seeds(self, candidate: Candidate) -> tuple[int, ...]:
        return tuple(step.params["seed"] for step in candidate.recipe if "seed" in step.params)

    def reseeded(self, candidate: Candidate, by: int) -> Candidate:
        (step,) = candidate.recipe
        params = {**step.params, "seed": step.params["seed"] + by}
        return replace(candidate, recipe=(replace(step, params=params),))


class Repeating(Memory):
    """A recorder that keeps repeats."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.repeats: list[TrialResult] = []

    def repeats_of(self, outcome: TrialResult) -> list[TrialResult]:
        return list(self.repeats)

    def add_repeat(self, outcome: TrialResult, repeat: TrialResult) -> None:
        self.repeats.append(repeat)

    def spent(self) -> float:
        return super().spent() + sum(o.spent_s for o in (*self.outcomes, *self.repeats))


def seeded_engine(
    folder: Path, count: int, *, time_s: float | None = None, **params: Any
) -> Engine:
    engine = make_engine(
        folder,
        [noop(quality=0.5), noop(quality=0.9, seed=0, **params)],
        repeat_pick=count,
        time_s=time_s,
        trials=None,
    )
    return replace(engine, job_factory=Seeded(), recorder=Repeating(folder))


def noted(engine: Engine) -> list[str]:
    """Run the repeats; return what was said."""
    told: list[str] = []
    engine.watcher.note = told.append  # type: ignore[method-assign]
    repeated = RepeatedPick(engine)
    repeated.run()
    assert repeated.reason is None or told[-1] == f"note: {repeated.reason}"
    return told


def repeats(engine: Engine) -> list[TrialResult]:
    recorder = engine.recorder
    assert isinstance(recorder, Repeating)
    return recorder.repeats


def test_a_build_of_the_same_structure_takes_the_speeds_over(tmp_path: Path) -> None:
    engine = seeded_engine(tmp_path, 1, structure="one", ms=3.0)
    engine.run()
    before = list(engine.target.jobs)  # type: ignore[attr-defined]
    noted(engine)
    done = engine.target.jobs[len(before) :]  # type: ignore[attr-defined]
    assert done == ["build", "classification:full"]
    (repeat,) = repeats(engine)
    speed = (repeat.measurements or {})["decode_ms_p50"]
    assert speed.details.taken_from == 2
    assert speed.value == pytest.approx(3.0)
    assert not (repeat.measurements or {})["accuracy"].taken_over


def test_a_transient_failure_is_no_result(tmp_path: Path) -> None:
    engine = seeded_engine(tmp_path, 1)
    engine.run()
    engine, before = replace(engine, retry_waits_s=(0.0,)), list(engine.recorder.outcomes)
    factory = engine.job_factory
    assert isinstance(factory, Seeded)
    plain = factory.reseeded

    def lost(candidate: Candidate, by: int) -> Candidate:
        made = plain(candidate, by)
        step = made.recipe[0]
        params = {**step.params, "status": "crashed", "transient": True}
        return replace(made, recipe=(replace(step, params=params),))

    factory.reseeded = lost  # type: ignore[method-assign]
    assert "could not be repeated with training seed 1: crashed" in noted(engine)[-1]
    assert repeats(engine) == []
    assert engine.recorder.outcomes == before


def test_the_limit_of_time_holds_and_time_is_kept(tmp_path: Path) -> None:
    engine = seeded_engine(tmp_path, 2, time_s=1000.0)
    engine.run()
    outcomes = engine.recorder.outcomes
    pick = outcomes[1]
    outcomes[1] = replace(pick, seconds=(StepTime("noop", 100.0, True), *pick.seconds[1:]))
    assert kept_for_repeats(engine) == pytest.approx(200.0, abs=5)
    outcomes[1] = replace(pick, seconds=(StepTime("noop", 400.0, True), *pick.seconds[1:]))
    assert kept_for_repeats(engine) == 500.0  # half of all at the most
    assert kept_for_repeats(replace(engine, time_s=None)) == 0.0
    assert kept_for_repeats(replace(engine, repeat_pick=0)) == 0.0
    outcomes[1] = replace(pick, seconds=(StepTime("noop", 1e6, True), *pick.seconds[1:]))
    (line,) = noted(engine)
    assert "was not repeated with training seed 1" in line
    assert "the same command with a larger --time makes it" in line
    assert repeats(engine) == []


class TenSeconds(FakeTarget):
    """Each build takes ten seconds of its own clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def _value(self, job: Job, params: dict[str, Any]) -> Any:
        value = super()._value(job, params)
        if not isinstance(value, BuildResult):
            return value
        self.now += 10.0
        return replace(value, steps=(StepTime("noop", 10.0, False),))


@pytest.mark.parametrize(("count", "searched"), [(0, 10), (2, 8), (9, 5)])
def test_the_search_leaves_the_time_that_the_repeats_take(
    tmp_path: Path, count: int, searched: int
) -> None:
    """Of ten builds' time, as much as the pick took is left for each repeat, at most half."""
    target = TenSeconds()
    candidates = [noop(quality=0.5), *(noop(quality=0.9 - x / 100, seed=0) for x in range(20))]
    engine = replace(
        make_engine(tmp_path, candidates, repeat_pick=count, time_s=101.0),
        target=target,
        clock=lambda: target.now,
        trials=None,
        job_factory=Seeded(),
        recorder=Repeating(tmp_path),
    )
    engine.run()
    assert len(engine.recorder.outcomes) == searched
    told = noted(engine)
    assert len(repeats(engine)) == min(count, 10 - searched)
    assert target.now == 100.0
    assert any("larger --time" in line for line in told) == (count > 5)


def test_one_that_the_deadline_meets_is_not_recorded(tmp_path: Path) -> None:
    engine = seeded_engine(tmp_path, 1, time_s=1000.0)
    engine.run()
    factory = engine.job_factory
    assert isinstance(factory, Seeded)
    plain = factory.reseeded

    def hanging(candidate: Candidate, by: int) -> Candidate:
        made = plain(candidate, by)
        step = made.recipe[0]
        return replace(made, recipe=(replace(step, params={**step.params, "status": "hang"}),))

    factory.reseeded = hanging  # type: ignore[method-assign]
    engine.left = lambda: 2.0  # type: ignore[method-assign]
    assert "the time ran out while the pick (candidate 2) was repeated" in noted(engine)[-1]
    assert engine.target.cancelled  # type: ignore[attr-defined]
    assert repeats(engine) == []
    assert all(o.kind is OutcomeKind.OK for o in engine.recorder.outcomes)
