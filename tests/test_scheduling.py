"""Parallel builds, exclusive measurements and paused trials, with real processes and studies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fake_study import search, write_fake_study

from paretune.core.jsontools import read_json, write_json
from paretune.core.result import NOT_PROMOTED
from paretune.study.folder import Study

TESTS = Path(__file__).resolve().parent


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


@pytest.mark.skipif(sys.platform != "linux", reason="kills a process group")
def test_a_killed_search_continues_from_its_rungs(tmp_path: Path) -> None:
    """The process is killed as soon as two trials are paused."""
    config = halving(tmp_path)
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from fake_study import search\n"
        "from paretune.study.folder import Study\n"
        "pause = Study.pause\n"
        "def cut(self, trial):\n"
        "    pause(self, trial)\n"
        "    if len(self.paused) == 2:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "Study.pause = cut\n"
        "search(Path(sys.argv[1]))\n"
    )
    paths = os.pathsep.join(map(str, (TESTS / "plugins", TESTS.parent)))
    ended = subprocess.run(
        [sys.executable, "-c", program, str(config)],
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    files = sorted((tmp_path / "study").glob("candidates/*/trial.json"))
    before = [read_json(file) for file in files]
    assert [trial["id"] for trial in before] == [2, 3]
    rows = {row["id"]: row for row in search(config).results["candidates"]}
    assert sorted((tmp_path / "journal").read_text().split()) == list("123456"), "built once"
    for trial in before:
        row = rows[trial["id"]]
        assert row["recipe"] == trial["recipe"]
        assert row["seconds"][: len(trial["seconds"])] == trial["seconds"], "nothing ran again"


def test_rungs_of_another_version_are_measured_again(tmp_path: Path) -> None:
    config = halving(tmp_path, trials=4)
    left = [r for r in search(config).results["candidates"] if r["reason"] == NOT_PROMOTED]
    identity = tmp_path / "study" / "identity.json"
    before = read_json(identity)
    write_json(identity, {**before, "paretune": "0.0.1"})
    config.write_text(config.read_text().replace("trials: 4", "trials: 9"))
    rows = {row["id"]: row for row in search(config).results["candidates"]}
    assert sorted((tmp_path / "journal").read_text().split()) == list("123456"), "built once"
    for row in left:
        again = rows[row["id"]]
        assert again["outcome"] == "ok", "it is tried again, up to its last rung"
        assert again["seconds"][0]["cached"]
