"""A table in a file: what is read, what is refused, and a search over it."""

from __future__ import annotations

import gzip
import json
import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import common
import pytest
import search_power
from simulator.comparison import Run, Runs, Task, oracle, score
from simulator.problem import Problem, make_problem
from simulator.recorded import RecordedTable, read_table
from simulator.searching import Simulation
from simulator.virtual import VirtualJobs, VirtualStore

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.measurement import Rung

HEADER: dict[str, Any] = {
    "format": "paretune-table",
    "version": 1,
    "name": "tiny",
    "space": {
        "stages": [
            {"pass": "lora", "grid": {"r": [4, 16], "stop_at": [1, 2]}},
            {"pass": "merge"},
            {"any": [{"pass": "build", "grid": {"bits": [4, 8]}}, {"pass": "plain"}]},
        ],
        "threads": [1, 2],
    },
    "continued": {"lora": "stop_at"},
    "evaluators": [
        {
            "name": "classification",
            "metrics": {"accuracy": ["fraction", "maximize"]},
            "rungs": {"rough": 20, "full": None},
        },
        {
            "name": "generation",
            "device": True,
            "processes": 3,
            "metrics": {"decode_ms_p50": ["ms", "minimize"]},
            "rungs": {"full": None},
        },
        {
            "name": "footprint",
            "metrics": {"size_mb": ["MB", "minimize"]},
            "rungs": {"full": None},
        },
    ],
    "problems": {
        "two": {
            "objectives": {"accuracy": "maximize", "decode_ms_p50": "minimize"},
            "reference": {"accuracy": 0.5, "decode_ms_p50": 40},
            "constraints": ["size_mb <= 90"],
        }
    },
}


def lines() -> list[dict[str, Any]]:
    found = [HEADER]
    for r in (4, 16):
        for stop_at in (1, 2):
            recipe = [{"pass": "lora", "params": {"r": r, "stop_at": stop_at}}]
            found.append({"kind": "step", "recipe": recipe, "s": 50 * stop_at, "estimate_s": 70})
            merged = [*recipe, {"pass": "merge", "params": {}}]
            found.append({"kind": "step", "recipe": merged, "s": 2})
            for bits in (4, 8):
                name = f"{r}-{stop_at}-{bits}"
                built = [*merged, {"pass": "build", "params": {"bits": bits}}]
                found.append(
                    {"kind": "step", "recipe": built, "s": 9, "artifact": name, "structure": bits}
                )
                for n, value in ((20, 0.7), (200, 0.6 + r / 100 + stop_at / 50 + bits / 100)):
                    told = {"artifact": name, "metric": "accuracy", "examples": n, "s": n / 10}
                    found.append({"kind": "value", **told, "value": value, "low": 0, "high": 1})
                size = {"artifact": name, "metric": "size_mb", "value": 10.0 * bits}
                found.append({"kind": "value", **size})
    for bits in (4, 8):
        for threads in (1, 2):
            processes = [2.0 * bits / threads + off for off in (0, 0.1, 0.2)]
            told = {"structure": bits, "threads": threads, "processes": processes, "s": 3}
            found.append({"kind": "speed", "metric": "decode_ms_p50", **told})
    return found


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> RecordedTable:
    folder = tmp_path_factory.mktemp("table")
    with gzip.open(folder / "tiny.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines())
    return read_table(folder)


@pytest.fixture(scope="module")
def problem(table: RecordedTable) -> Problem:
    return make_problem("two", table, table.problems["two"])


def candidate(r: int, stop_at: int, bits: int, threads: int = 1) -> Candidate:
    steps = (
        Step("lora", {"r": r, "stop_at": stop_at}),
        Step("merge", {}),
        Step("build", {"bits": bits}),
    )
    return Candidate(steps, RuntimeSettings("cpu", threads))


def test_what_is_not_recorded_is_ruled_out(table: RecordedTable) -> None:
    assert table.space.size == 24
    assert len(list(table.distinct())) == 16
    plain = Candidate((*candidate(4, 1, 4).recipe[:2], Step("plain", {})))
    assert table.missing(plain) == "not recorded: plain"


def test_what_is_not_recorded_has_a_cost_before_it_is_ruled_out(table: RecordedTable) -> None:
    jobs = VirtualJobs(VirtualStore(table), table)
    recipe = candidate(4, 1, 4).recipe
    unknown = Candidate((Step("lora", {"r": 8, "stop_at": 1}), *recipe[1:]))
    assert jobs.resumed_share(unknown) == jobs.resumed_share(candidate(4, 1, 4)) == 0.0


def test_a_request_for_what_is_not_recorded_is_no_ask(problem: Problem) -> None:
    simulation = Simulation(problem, "random", seed=0, asks=16, stop_at=None)
    curve = simulation.run()
    assert curve.asks == 16  # all that are recorded, of 24
    assert curve.volumes[-1] == pytest.approx(1.0)


def test_true_values_are_means_and_those_at_the_most_examples(table: RecordedTable) -> None:
    truth = table.truth(candidate(16, 2, 8, threads=2))
    assert truth == pytest.approx({"accuracy": 0.88, "decode_ms_p50": 8.1, "size_mb": 80.0})


def test_a_search_sees_one_process_and_the_asked_examples(table: RecordedTable) -> None:
    score_slot, speed, _ = table.evaluators
    rough = table.measure(candidate(4, 1, 4), score_slot, Rung.ROUGH, None, random.Random(0))
    assert (rough.values[0].value, rough.values[0].n, rough.seconds) == (0.7, 20, 2.0)
    part = table.measure(candidate(4, 1, 4), score_slot, Rung.FULL, 40, random.Random(0))
    assert part.values[0].n == 200
    seen = {
        table.measure(candidate(4, 1, 4), speed, Rung.FULL, None, random.Random(i)).values[0].value
        for i in range(20)
    }
    assert seen == {8.0, 8.1, 8.2}


def test_a_longer_training_pays_the_difference(table: RecordedTable) -> None:
    store = VirtualStore(table)
    assert [s.s for s in store.build(candidate(4, 1, 4).recipe)] == [50, 2, 9]
    assert [s.s for s in store.build(candidate(4, 2, 4).recipe)] == [50, 2, 9]
    assert [s.cached for s in store.build(candidate(4, 2, 8).recipe)] == [True, True, False]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"kind": "step", "recipe": []}, "line 2"),
        ({"kind": "other"}, "expected step, load, value or speed"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(
    tmp_path: Path, line: dict[str, Any], told: str
) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(HEADER) + "\n" + json.dumps(line) + "\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=told):
        read_table(path)
    path.write_text('{"format": "x"}\n', encoding="utf-8")
    with pytest.raises(SystemExit, match="line 1"):
        read_table(path)


def test_searches_end_with_the_whole_front(problem: Problem) -> None:
    curve = Simulation(problem, "random", seed=0).run()
    assert curve.reached_s is not None
    whole, most = oracle(problem)
    assert most <= whole
    settings = {"kind": "optuna", "sampler": "tpe"}
    task = Task(problem, ("with-store", "alone"), settings, seed=0, asks=30)
    shared, alone = task.run()
    assert shared.volumes == alone.volumes
    assert whole * 0.5 < shared.at_least_s <= alone.at_least_s
    assert shared.reached_s is not None


def test_runs_are_kept_and_a_cut_off_line_is_passed_over(tmp_path: Path, problem: Problem) -> None:
    path = tmp_path / "runs.jsonl"
    run = Run("tiny", "two", "random", 0, "k", None, 30.0, 9, 0.1, [10.0], [0.5])
    Runs(path).add(run)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"table": "ti')
    assert Runs(path).find(problem, "random", 0, "k") is not None
    later = replace(run, seed=5)
    Runs(path).add(later)
    assert Runs(path).find(problem, "random", 5, "k") == later
    assert Runs(path, ["random"]).find(problem, "random", 0, "k") is None
    other = Run("tiny", "two", "random", 1, "k", 20.0, 20.0, 9, 0.1, [10.0, 20.0], [0.5, 1.0])
    found = score([run, other])
    assert (round(found.s, 6), found.censored, found.runs) == (25.0, 1, 2)


def test_the_command_compares_on_a_table_in_a_file_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tiny.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines()), encoding="utf-8")
    monkeypatch.setattr(search_power, "OUT", tmp_path / "out")
    monkeypatch.setattr(common, "OUT", tmp_path / "out")
    asked = ["--table", str(path), "--seeds", "2", "--workers", "1", "--ours", "random"]
    monkeypatch.setattr(sys, "argv", ["x", *asked, "--only", "random", "optuna-nsga2"])
    search_power.main()
    shown = capsys.readouterr().out
    assert "0 of 4 runs are known, 4 are done now" in shown
    assert "| oracle, whole front |" in shown
    found = json.loads((tmp_path / "out" / "search_power.json").read_text())["tiny"]
    assert found["ratio"] == pytest.approx(found["ours_s"] / min(found["peers"].values()))
    assert set(found["peers"]) == {"optuna-nsga2", "optuna-nsga2-with-store"}
    assert found["oracle_99_s"]["two"] <= found["ours_s"]
    assert "</svg>" in (tmp_path / "out" / "search_power_tiny.svg").read_text()
    search_power.main()
    assert "4 of 4 runs are known, 0 are done now" in capsys.readouterr().out
