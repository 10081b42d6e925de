from __future__ import annotations

from typing import Any

from paretune.reporting.answer import plain_answer
from paretune.study.nothing_measured import nothing_measured
from paretune.study.results import CandidateEntry, Results


def row(id: int, outcome: str, reason: str | None = None) -> CandidateEntry:
    values: dict[str, Any] = {
        "id": id,
        "outcome": outcome,
        "reason": reason,
        "recipe": [],
        "metrics": {},
        "runtime": {"provider": "cpu", "threads": 1},
        "seconds": [],
        "feasible": False,
        "pareto": False,
        "duplicate_of": None,
        "rung": None,
        "artifact": None,
    }
    return CandidateEntry.from_json(values)


def results(*candidates: CandidateEntry) -> Results:
    values: dict[str, Any] = {
        "schema": 1,
        "study": "s",
        "config": "sha256:c",
        "versions": {},
        "device": {},
        "pareto": [],
        "candidates": list(candidates),
        "best": None,
        "nearest_miss": None,
        "baseline": None,
        "constraints": [],
        "objectives": [{"metric": "accuracy", "direction": "maximize"}],
        "status": "finished",
    }
    return Results.from_json(values)


def test_all_failed_of_one_cause() -> None:
    rows = row(1, "failed", "ValueError: x\nmore"), row(2, "failed", "ValueError: x")
    told = plain_answer(results(*rows))
    assert told[0] == "All 2 candidates failed: there is nothing to choose from."
    assert told[1] == "2 candidates (such as 1) failed: ValueError: x"
    assert not [line for line in told if "constraint" in line]


def test_of_several_the_most_common_first() -> None:
    rows = [row(1, "crashed", "segmentation fault"), row(2, "timeout", "t"), row(3, "timeout", "t")]
    told = nothing_measured(rows)
    assert told[1].startswith("2 candidates (such as 2) failed: not done")
    assert told[2] == "candidate 1 crashed: segmentation fault"
    many = nothing_measured([row(n, "failed", f"reason {n}") for n in range(1, 9)])
    assert "3 further reasons" in " ".join(many)


def test_one_alone_and_one_without_a_reason() -> None:
    assert nothing_measured([row(1, "invalid")])[0] == (
        "The only candidate failed: there is nothing to choose from."
    )
    assert nothing_measured([row(1, "skipped", "no cuda")])[0].startswith("The only candidate was")
    one = [row(1, "skipped", "no cuda")]
    assert nothing_measured(one)[1] == "candidate 1 was ruled out before any job: no cuda"
    two = nothing_measured([*one, row(2, "skipped", "no cuda")])
    assert two[1] == "2 candidates (such as 1) were ruled out before any job: no cuda"


def test_where_one_was_measured_the_constraints_are_the_reason() -> None:
    told = plain_answer(results(row(1, "ok"), row(2, "failed", "x")))
    assert told[0] == "No candidate meets every constraint."
