"""Two searches in two processes on one machine: neither works while the other one measures."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fake_study import search, write_fake_study

from paretune.core import machine_lock
from paretune.core.jsontools import read_json

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no flock")

TESTS = Path(__file__).resolve().parents[1]
WITHIN_S = 300.0
SEARCH = """
import sys
from pathlib import Path
from fake_study import search
search(Path(sys.argv[1]))
"""


def begun(folder: Path, journal: Path, **changes: Any) -> subprocess.Popen[str]:
    """Start the search of a study of its own, with a store of its own."""
    nap = {"x": [1, 2, 3], "seconds": 0.3, "journal": str(journal)}
    config = write_fake_study(
        folder,
        {},
        passes=[{"nap": nap}],
        baseline=[{"nap": {**nap, "x": 0}}],
        evaluate=[{"readback": {"journal": str(journal), "seconds": 0.3}}],
        search={"strategy": "exhaustive", "finals": 0},
        **changes,
    )
    return subprocess.Popen(
        [sys.executable, "-c", SEARCH, str(config)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (TESTS / "plugins", TESTS.parent))),
            machine_lock.FOLDER: str(journal.parent / "machine"),
        },
        stderr=subprocess.PIPE,
        text=True,
    )


def intervals(journal: Path) -> list[tuple[str, float, float]]:
    lines = [line.split() for line in journal.read_text().splitlines()]
    return sorted(
        ((words[0], float(words[1]), float(words[2])) for words in lines if len(words) == 3),
        key=lambda each: each[1],
    )


def test_neither_measures_nor_builds_while_the_other_one_measures(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    both = [begun(tmp_path / name, journal) for name in ("one", "other")]
    for process in both:
        _, said = process.communicate(timeout=WITHIN_S)
        assert process.returncode == 0, said
    ran = intervals(journal)
    measured = sum(name.startswith("measure") for name, _, _ in ran)
    assert measured >= 2 * 4 * 2, "two rungs of four candidates each; more if others disturbed one"
    assert sum(name.startswith("nap") for name, _, _ in ran) == 2 * 4
    for number, (name, _, end) in enumerate(ran):
        for other, begin, _ in ran[number + 1 :]:
            if begin < end:
                assert name.startswith("nap"), f"{other} began while {name} ran"
                assert other.startswith("nap"), f"{other} began while {name} ran"
    for name in ("one", "other"):
        results = read_json(tmp_path / name / "study" / "results.json")
        assert {row["outcome"] for row in results["candidates"]} == {"ok"}
        steps = [step["s"] for row in results["candidates"] for step in row["seconds"]]
        assert sum(steps) < ran[-1][2] - ran[0][1], "the wait is no part of a step"


def test_a_search_that_is_killed_while_it_measures_holds_nobody_up(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    killed = begun(tmp_path / "killed", journal)
    place = tmp_path / "machine" / "use"
    try:
        while not (place.is_file() and place.read_text() == f"{killed.pid}\n"):
            assert killed.poll() is None, "it ended before it measured"
            time.sleep(0.01)
    finally:
        killed.kill()
        killed.communicate(timeout=WITHIN_S)
    after = begun(tmp_path / "after", journal)
    _, said = after.communicate(timeout=WITHIN_S)
    assert after.returncode == 0, said


def test_a_job_that_measures_by_itself_does_not_wait_for_itself(tmp_path: Path) -> None:
    config = write_fake_study(
        tmp_path,
        {},
        passes=[{"noop": {"x": 1}}],
        evaluate=[{"readback": {"nested": True}}],
        search={"strategy": "exhaustive", "finals": 0},
    )
    results = search(config).results
    assert {row["outcome"] for row in results["candidates"]} == {"ok"}
