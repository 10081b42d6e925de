from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from paretune.reporting.csv_export import write_csv
from paretune.study.results import CandidateEntry, RuntimeEntry, StepEntry
from paretune.study.results_part import MetricValue


def row(**changes: Any) -> CandidateEntry:
    values: dict[str, Any] = {
        "id": 1,
        "outcome": "ok",
        "feasible": True,
        "pareto": True,
        "recipe": [],
        "runtime": {"provider": "cpu", "threads": 1},
        "metrics": {},
        "seconds": [],
        "reason": None,
        **changes,
    }
    values["recipe"] = [StepEntry.from_json(step) for step in values["recipe"]]
    values["runtime"] = RuntimeEntry.from_json(values["runtime"])
    values["metrics"] = {n: MetricValue.model_construct(**m) for n, m in values["metrics"].items()}
    return CandidateEntry.model_construct(**values)


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])  # noqa: RUF001
def test_no_cell_is_a_formula_to_a_spreadsheet(tmp_path: Path, sign: str) -> None:
    """Neither values nor names: both may come from a model, a pass or an evaluator of another."""
    evil = f"{sign}cmd|' /C calc'!A0"
    value = {"value": 1.0, "low": None, "high": -2.0}
    candidates = [
        row(reason=evil, recipe=[{"pass": evil, "params": {"p": evil}}], metrics={evil: value}),
        row(id=2, runtime={"provider": evil, "threads": 2}),
    ]
    write_csv(candidates, tmp_path / "r.csv")
    with open(tmp_path / "r.csv", newline="", encoding="utf-8") as file:
        read = list(csv.reader(file))
    cells = [cell for line in read for cell in line]
    assert not [cell for cell in cells if cell.startswith(sign) and cell != "-2.0"]
    assert "'" + evil in read[0]
    assert len(read) == 3
    assert {len(line) for line in read} == {len(read[0])}


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    metrics = {"m": {"value": -1.5, "low": -2, "high": 0}}
    write_csv([row(metrics=metrics)], tmp_path / "r.csv")
    with open(tmp_path / "r.csv", newline="", encoding="utf-8") as file:
        (found,) = csv.DictReader(file)
    assert (found["m"], found["m.low"], found["m.high"]) == ("-1.5", "-2", "0")
