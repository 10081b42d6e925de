"""Parallel builds, exclusive measurements and paused trials, with real processes and studies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_study import search, write_fake_study

from paretune import optimize
from paretune.core.jsontools import Json, read_json, write_json
from paretune.core.result import NOT_PROMOTED
from paretune.study.folder import Study
from tests.tiny_models import make_tiny_llama

TESTS = Path(__file__).resolve().parent
WORDS = (("sun", "joy"), ("wolf", "fear"))
PRECISIONS = ["fp32", "int8", "int4"]


def intervals(journal: Path) -> dict[str, list[tuple[float, float]]]:
    """Return when builds and measurements ran."""
    found: dict[str, list[tuple[float, float]]] = {"build": [], "measure": []}
    for line in journal.read_text().splitlines():
        what, begin, end = line.split()
        found[what.partition("-")[0]].append((float(begin), float(end)))
    return found


def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def test_builds_run_in_parallel_and_never_beside_a_measurement(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    config = write_fake_study(
        tmp_path,
        {},
        passes=[{"meet": {"x": [1, 2, 3, 4], "journal": str(journal)}}],
        baseline=[{"meet": {"x": 0, "journal": str(journal)}}],
        evaluate=[{"readback": {"journal": str(journal)}}],
        search={"strategy": "exhaustive", "builds": 2},
    )
    results = search(config).results
    assert [row["outcome"] for row in results["candidates"]] == ["ok"] * 5
    assert [row["id"] for row in results["candidates"]] == [1, 2, 3, 4, 5]
    ran = intervals(journal)
    assert len(ran["build"]) == 5
    first, second = sorted(ran["build"])[:2]
    assert overlap(first, second), "the first two builds wait for each other"
    for measured in ran["measure"]:
        assert not any(overlap(measured, built) for built in ran["build"])
    outcomes = [
        read_json(f) for f in sorted((tmp_path / "study").glob("candidates/*/outcome.json"))
    ]
    spent = sum(outcome["wall_s"] for outcome in outcomes if "wall_s" in outcome)
    assert spent > 0
    study = Study(tmp_path / "study")
    try:
        begin = min(begin for begin, _ in ran["build"])
        end = max(end for both in ran.values() for _, end in both)
        steps = sum(s.s for o in study.outcomes for s in o.seconds if not s.cached)
        assert end - begin <= study.spent() + 0.5 * len(outcomes), "time that nobody is charged for"
        assert study.spent() < steps + 5.0 * len(outcomes)
    finally:
        study.close()


def test_a_prefix_that_is_being_built_is_built_once(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    train = {"fake_train": {"x": [1, 2], "journal": str(journal)}}
    config = write_fake_study(
        tmp_path,
        {},
        passes=[train, {"noop": {"x": [1, 2, 3]}}],
        baseline=[{"fake_train": {"x": 1, "journal": str(journal)}}, {"noop": {"x": 1}}],
        search={"strategy": "exhaustive", "builds": 3},
    )
    results = search(config).results
    assert Counter(row["outcome"] for row in results["candidates"]) == {"ok": 6}
    assert sorted(journal.read_text().split()) == ["1", "2"]


def halving(folder: Path, **changes: Any) -> Path:
    return write_fake_study(
        folder,
        {"x": [1, 2, 3, 4, 5, 6], "journal": str(folder / "journal")},
        baseline=[{"noop": {"x": 0, "quality": 0.5, "speed": 20.0}}],
        search={"strategy": "asha", "seed": 2, **changes},
    )


def test_trials_are_paused_promoted_and_recorded(tmp_path: Path) -> None:
    result = search(halving(tmp_path))
    rows = result.results["candidates"]
    kinds = Counter((row["outcome"], row["rung"], row["reason"]) for row in rows)
    assert kinds[("pruned", "rough", NOT_PROMOTED)] >= 3
    assert kinds[("ok", "full", None)] >= 2
    assert "not promoted" in (tmp_path / "study" / "report.html").read_text()
    assert sorted((tmp_path / "journal").read_text().split()) == list("123456")


def test_a_larger_study_continues_what_was_not_promoted(tmp_path: Path) -> None:
    config = halving(tmp_path, trials=4)
    first = search(config).results
    left = [row["id"] for row in first["candidates"] if row["reason"] == NOT_PROMOTED]
    assert left
    config.write_text(config.read_text().replace("trials: 4", "trials: 7"))
    search(config)
    assert sorted((tmp_path / "journal").read_text().split()) == list("123456"), "built once"
    config.write_text(config.read_text().replace("strategy: asha", "strategy: exhaustive"))
    last = search(config).results
    assert [row["outcome"] for row in last["candidates"]] == ["ok"] * 7
    for row in last["candidates"]:
        steps = Counter(s["step"] for s in row["seconds"] if not s["cached"])
        assert steps["readback:rough"] == 1, "no rung was measured again"
    assert not list((tmp_path / "study").glob("candidates/*/trial.json"))


CUT = """
import os, signal, sys
from pathlib import Path
from paretune.study.folder import Study
pause = Study.pause
def cut(self, trial):
    pause(self, trial)
    if len(self.paused) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
Study.pause = cut
config = Path(sys.argv[1])
"""
FAKES = "from fake_study import search\nsearch(config)\n"
REAL = (
    "from paretune import optimize\n"
    "optimize(config, study=config.parent / 'study', store=config.parent / 'store')\n"
)


def kill_at_the_second_pause(config: Path, search_it: str) -> list[Json]:
    """Search in a process that is killed as soon as two trials are paused; return these."""
    paths = os.pathsep.join(map(str, (TESTS / "plugins", TESTS.parent)))
    ended = subprocess.run(
        [sys.executable, "-c", CUT + search_it, str(config)],
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    files = sorted((config.parent / "study").glob("candidates/*/trial.json"))
    found = [read_json(file) for file in files]
    assert [trial["id"] for trial in found] == [2, 3]
    return found


def assert_continued(before: list[Json], rows: list[Json]) -> None:
    """Require that what the paused trials had done did not run again."""
    by_id = {row["id"]: row for row in rows}
    for trial in before:
        row = by_id[trial["id"]]
        assert row["recipe"] == trial["recipe"]
        assert row["seconds"][: len(trial["seconds"])] == trial["seconds"]
        rough = [s for s in row["seconds"] if s["step"].endswith(":rough") and not s["cached"]]
        assert len(rough) == len({s["step"] for s in rough}), "a rung was measured twice"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("builds", [1, 2])
def test_a_killed_search_continues_from_its_rungs(tmp_path: Path, builds: int) -> None:
    config = halving(tmp_path, builds=builds)
    before = kill_at_the_second_pause(config, FAKES)
    rows = search(config).results["candidates"]
    assert sorted((tmp_path / "journal").read_text().split()) == list("123456"), "built once"
    assert_continued(before, rows)
    assert len(rows) == 7
    assert len({str((row["recipe"], row["runtime"])) for row in rows}) == 7


@pytest.mark.slow
def test_a_killed_search_with_real_builds_continues_from_its_rungs(tmp_path: Path) -> None:
    """Trains, merges and builds a small Llama; the strategy halves what was measured roughly."""
    make_tiny_llama(tmp_path / "model")
    rows = [{"phrase": f"the {w} {i}", "tone": t} for i in range(24) for w, t in WORDS]
    (tmp_path / "tone.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tuned = {"train": "tone.train", "max_steps": 2, "batch_size": 4}
    file = {"file": "tone.jsonl", "prompt": "{phrase}: ", "answer": "{tone}"}
    config = {
        "model": "model",
        "data": {"tone": {**file, "split": {"test": 0.5}}},
        "passes": [{"lora": {**tuned, "r": [2, 4]}}, "merge", {"genai": {"precision": PRECISIONS}}],
        "baseline": [{"lora": {**tuned, "r": 8}}, "merge", {"genai": {"precision": "fp32"}}],
        "evaluate": [
            {"classification": {"data": "tone.test", "rough_examples": 8}},
            {"generation": {"prompt_tokens": 8, "new_tokens": 4}},
        ],
        "target": {"threads": [1]},
        "objectives": {"maximize": "accuracy", "minimize": "decode_ms_p50"},
        "search": {"strategy": "asha", "builds": 2, "finals": 0},
    }
    place = tmp_path / "tone.yaml"
    place.write_text(yaml.safe_dump(config, sort_keys=False))
    before = kill_at_the_second_pause(place, REAL)
    result = optimize(place, study=tmp_path / "study", store=tmp_path / "store")
    found = result.results["candidates"]
    assert_continued(before, found)
    trained = [s for row in found for s in row["seconds"] if s["step"] == "lora"]
    assert sum(not step["cached"] for step in trained) <= 3, "each adapter is trained once"
    kinds = Counter((row["outcome"], row["reason"]) for row in found)
    assert len(found) == 1 + 2 * len(PRECISIONS)
    assert kinds[("ok", None)] >= 2
    assert kinds[("pruned", NOT_PROMOTED)] >= 1
    assert result.best is not None


def _after_a_change(tmp_path: Path, **changed: Json) -> tuple[list[Json], dict[int, Json]]:
    """Return what was not promoted, and the rows after the study's identity has changed."""
    config = halving(tmp_path, trials=4)
    left = [r for r in search(config).results["candidates"] if r["reason"] == NOT_PROMOTED]
    identity = tmp_path / "study" / "identity.json"
    write_json(identity, {**read_json(identity), **changed})
    config.write_text(config.read_text().replace("trials: 4", "trials: 12"))
    rows = {row["id"]: row for row in search(config).results["candidates"]}
    assert sorted((tmp_path / "journal").read_text().split()) == list("123456"), "built once"
    return left, rows


def test_rungs_of_an_evaluator_that_has_changed_are_measured_again(tmp_path: Path) -> None:
    left, rows = _after_a_change(tmp_path, measured_by=[{"version": 0}])
    for row in left:
        again = rows[row["id"]]
        assert again["outcome"] == "ok", "it is tried again, up to its last rung"
        assert again["seconds"][0]["cached"]


def test_another_version_of_ours_leaves_the_rungs_as_they_are(tmp_path: Path) -> None:
    left, rows = _after_a_change(tmp_path, paretune="0.0.1")
    for row in left:
        again = rows[row["id"]]
        assert again["seconds"][: len(row["seconds"])] == row["seconds"]
