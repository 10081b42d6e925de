"""Candidates that misbehave, as real child processes in a whole search.

Each ends in its typed outcome with a reason that a person understands; the next candidate is
unharmed; no process and no temporary file stays.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest
from fake_study import search, write_fake_study

from paretune.core.jsontools import read_json
from paretune.study.folder import read_outcomes

LIMITS = {"strategy": "exhaustive", "job_time": "10s", "job_memory": "400MB"}

WAYS = {
    "segfault": ("crashed", "segmentation fault (SIGSEGV)"),
    "exit": ("crashed", "exited with status 3 without a result"),
    "kill": (
        "crashed",
        "killed from outside (SIGKILL) (tried 3 times; once more when the search goes on)",
    ),
    "memory": ("out_of_memory", "more than its limit of 400 MB"),
    "children": ("out_of_memory", "more than its limit of 400 MB"),
    "spin": ("timeout", "still running after its time limit of 10 s"),
    "ignore_sigterm": ("timeout", "still running after its time limit of 10 s"),
    "raise": ("failed", "ValueError: as asked for"),
    "disk": (
        "failed",
        "the disk is full: OSError: [Errno 28] No space left on device (tried 3 times; once more "
        "when the search goes on)",
    ),
    "daemon": ("ok", ""),
    "chatter": ("ok", ""),
    "temporary": ("crashed", "killed from outside (SIGKILL)"),
}


def test_each_way_has_its_outcome_and_the_next_candidate_is_unharmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    pairs = [
        step
        for n, way in enumerate(WAYS)
        for step in (
            {"noop": {"misbehave": way, "x": 2 * n + 1}},
            {"noop": {"x": 2 * n + 2}},
        )
    ]
    config = write_fake_study(tmp_path, {}, search=LIMITS, passes=[{"any": pairs}])
    processes = set(psutil.Process().children(recursive=True))
    result = search(config)
    rows = result.results["candidates"]
    for bad, good in zip(rows[1::2], rows[2::2], strict=True):
        way = bad["recipe"][0]["params"]["misbehave"]
        kind, reason = WAYS[way]
        assert (bad["outcome"], way) == (kind, way)
        assert reason in (bad["reason"] or ""), way
        assert "misbehave" not in good["recipe"][0]["params"]
        assert good["outcome"] == "ok", f"the candidate after {way}"
    assert set(psutil.Process().children(recursive=True)) <= processes
    assert list(temporary.iterdir()) == []
    assert list((tmp_path / "store" / "staging").iterdir()) == []
    assert [p.name for p in (tmp_path / "store" / "locks").iterdir() if p.suffix == ".stage"] == []
    assert list((tmp_path / "study").glob("**/.*.tmp")) == []
    log = tmp_path / "study" / "candidates" / f"{_id_of(rows, 'chatter'):04d}" / "worker.log"
    assert log.stat().st_size < 9 << 20


def _id_of(rows: list[dict[str, Any]], way: str) -> int:
    return next(r["id"] for r in rows if r["recipe"][0]["params"].get("misbehave") == way)


@pytest.mark.parametrize(
    ("metric", "outcome", "reason"),
    [
        ("nan", "ok", "measured as nan"),
        ("inf", "ok", "measured as inf"),
        ("missing", "failed", "evaluator 'readback' ended without accuracy, which it declares"),
    ],
)
def test_a_metric_that_is_no_number_or_never_arrives(
    tmp_path: Path, metric: str, outcome: str, reason: str
) -> None:
    config = write_fake_study(tmp_path, {"metric": ["", metric], "x": 1, "quality": 0.9})
    result = search(config)
    row = next(r for r in result.results["candidates"] if r["recipe"][0]["params"].get("metric"))
    assert row["outcome"] == outcome
    told = row["reason"] if outcome == "failed" else row["metrics"]["accuracy"]["reason"]
    assert reason in told
    assert row["metrics"].get("accuracy", {"value": None})["value"] is None
    assert not row["pareto"]
    assert result.results["best"] != row["id"]


def test_what_was_transient_is_tried_anew_when_the_search_goes_on(tmp_path: Path) -> None:
    config = write_fake_study(tmp_path, {"misbehave": ["kill", "raise"], "x": 1})
    search(config)
    before = {o.id: o for o in read_outcomes(tmp_path / "study")}
    assert [o.transient for o in before.values()] == [False, True, False]
    raised = tmp_path / "study" / "candidates" / "0003" / "outcome.json"
    stamp = raised.stat().st_mtime_ns
    search(config)
    after = read_outcomes(tmp_path / "study")
    assert raised.stat().st_mtime_ns == stamp  # a fact about the candidate stays one
    (again,) = [o for o in after if o.transient]
    assert again.candidate == before[2].candidate
    assert len(after) == len(before)
    assert read_json(tmp_path / "study" / "results.json")["status"] == "finished"
