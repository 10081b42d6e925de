"""Runs of `benchmarks/search_power.py` are kept, and not done again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from simulator.comparison import Run, Runs

RUN = Run("own", "two", "chains", 3, "sha256:0", 914.0, 914.0, 56, 3.2, [0.5, 914.0], [0.0, 0.991])


def test_kept_runs_are_known_again(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs.jsonl")
    runs.add(RUN)
    runs.add(replace(RUN, search="tpe"))
    runs.keep(tmp_path / "kept.gz")
    elsewhere = Runs(tmp_path / "none.jsonl", ["tpe"], tmp_path / "kept.gz")
    again = Runs(tmp_path / "none.jsonl", kept=tmp_path / "kept.gz")
    again.keep(tmp_path / "again.gz")
    assert (tmp_path / "again.gz").read_bytes() == (tmp_path / "kept.gz").read_bytes()
    assert elsewhere.every() == [RUN]


def test_a_later_run_counts_and_a_line_that_was_cut_off_does_not(tmp_path: Path) -> None:
    Runs(tmp_path / "runs.jsonl").add(RUN)
    runs = Runs(tmp_path / "runs.jsonl")
    runs.keep(tmp_path / "kept.gz")
    runs.add(replace(RUN, reached_s=657.0, end_s=657.0))
    with (tmp_path / "runs.jsonl").open("a") as file:
        file.write('{"table": "own", "prob')
    known = Runs(tmp_path / "runs.jsonl", kept=tmp_path / "kept.gz").every()
    assert [run.reached_s for run in known] == [657.0]
