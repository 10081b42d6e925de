from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from paretune.reporting.csv_export import write_csv
from paretune.study.results import (
    CandidateEntry,
    DeviceResults,
    Results,
    RuntimeEntry,
    StepEntry,
)
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


def document(*candidates: CandidateEntry, **devices: DeviceResults) -> Results:
    return Results.model_construct(candidates=list(candidates), devices=devices)


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])  # noqa: RUF001
def test_no_cell_is_a_formula_to_a_spreadsheet(tmp_path: Path, sign: str) -> None:
    """Neither values nor names: both may come from a model, a pass or an evaluator of another."""
    evil = f"{sign}cmd|' /C calc'!A0"
    value = {"value": 1.0, "low": None, "high": -2.0}
    candidates = [
        row(reason=evil, recipe=[{"pass": evil, "params": {"p": evil}}], metrics={evil: value}),
        row(id=2, runtime={"provider": evil, "threads": 2}),
    ]
    write_csv(document(*candidates), tmp_path / "r.csv")
    with open(tmp_path / "r.csv", newline="", encoding="utf-8") as file:
        read = list(csv.reader(file))
    cells = [cell for line in read for cell in line]
    assert not [cell for cell in cells if cell.startswith(sign) and cell != "-2.0"]
    assert "'" + evil in read[0]
    assert len(read) == 3
    assert {len(line) for line in read} == {len(read[0])}


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    metrics = {"m": {"value": -1.5, "low": -2, "high": 0}}
    write_csv(document(row(metrics=metrics)), tmp_path / "r.csv")
    with open(tmp_path / "r.csv", newline="", encoding="utf-8") as file:
        (found,) = csv.DictReader(file)
    assert (found["m"], found["m.low"], found["m.high"]) == ("-1.5", "-2", "0")


def on_device(
    values: dict[int, float], best: int, candidates: dict[str, Any] | None = None
) -> DeviceResults:
    metric = {"low": None, "high": None, "n": 1, "unit": "ms", "reason": None}
    return DeviceResults.from_json(
        {
            "device": {},
            "metrics": {str(id): {"m": {"value": value, **metric}} for id, value in values.items()},
            "outcomes": {
                str(id): {"outcome": "ok", "rung": "full", "reason": None, "feasible": True}
                for id in values
            },
            "pareto": [best],
            "best": best,
            "nearest_miss": None,
            "candidates": candidates or {},
        }
    )


def test_each_device_has_columns_of_its_own(tmp_path: Path) -> None:
    """Those without a device's name stay the first device's."""
    noop = [{"pass": "noop", "params": {"x": 3}}]
    further = {"3": {"recipe": noop, "runtime": {"provider": "cpu", "threads": 4}}}
    local = on_device({1: 5.0, 2: 6.0}, 1)
    board = on_device({2: 9.0, 3: 8.0}, 3, further)
    first = {"value": 5.0, "low": None, "high": None}
    candidates = [
        row(metrics={"m": first}),
        row(id=2, pareto=False, metrics={"m": {**first, "value": 6.0}}),
    ]
    write_csv(document(*candidates, local=local, board=board), tmp_path / "r.csv")
    with open(tmp_path / "r.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [line["id"] for line in rows] == ["1", "2", "3"]
    assert [line["m"] for line in rows] == ["5.0", "6.0", ""]
    assert [line["outcome"] for line in rows] == ["ok", "ok", ""]
    assert [line["devices.local.m"] for line in rows] == ["5.0", "6.0", ""]
    assert [line["devices.board.m"] for line in rows] == ["", "9.0", "8.0"]
    assert [line["devices.board.pareto"] for line in rows] == ["", "False", "True"]
    assert (rows[2]["passes"], rows[2]["threads"], rows[2]["noop.x"]) == ("noop", "4", "3")
    names = list(rows[0])
    assert names.index("reason") < names.index("devices.local.outcome")
    write_csv(document(*candidates, local=local), tmp_path / "r.csv")
    assert "devices" not in (tmp_path / "r.csv").read_text(), "it is the only one"
