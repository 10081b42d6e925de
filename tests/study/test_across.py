"""What one device's pick reaches on the others, and what one pick for all would cost."""

from __future__ import annotations

from typing import Any

import pytest

from paretune.study.across import across
from paretune.study.results import Results

ONE = {"runtime": {"name": "x", "provider": "cpu", "threads": 1}}
TWO = {"runtime": {"name": "x", "provider": "cpu", "threads": 2}}


def row(id: int, step: str, ms: float, accuracy: float = 0.9, **more: Any) -> dict[str, Any]:
    """Return a candidate of one pass."""

    def metric(value: float, unit: str) -> dict[str, Any]:
        return {"value": value, "low": None, "high": None, "n": 1, "unit": unit, "reason": None}

    return {
        "id": id,
        "recipe": [{"pass": step, "params": {}}],
        **ONE,
        "outcome": "ok",
        "rung": "full",
        "reason": None,
        "duplicate_of": None,
        "feasible": True,
        "pareto": False,
        "metrics": {"accuracy": metric(accuracy, "fraction"), "ms": metric(ms, "ms")},
        "artifact": None,
        "seconds": [],
        **more,
    }


def found(best: int | None, *rows: dict[str, Any]) -> Results:
    return Results.from_json(
        {
            "schema": 1,
            "study": "s",
            "status": "finished",
            "config": "",
            "versions": {},
            "device": {},
            "objectives": [
                {"metric": "accuracy", "direction": "maximize"},
                {"metric": "ms", "direction": "minimize"},
            ],
            "constraints": [],
            "baseline": None,
            "candidates": list(rows),
            "pareto": [],
            "best": best,
            "nearest_miss": None,
        }
    )


def test_a_pick_is_compared_with_the_own_pick_of_each_device() -> None:
    here = found(1, row(1, "a", 10.0, 0.9), row(2, "b", 12.0, 0.8))
    board = found(2, row(1, "a", 30.0, 0.72), row(2, "b", 20.0, 0.8))
    compared = across({"here": here, "board": board})
    mine, theirs = compared["picks"]
    assert (mine["of"], mine["id"], theirs["of"], theirs["id"]) == ("here", 1, "board", 2)
    assert mine["on"]["here"]["values"]["ms"] == {"value": 10.0, "own": 10.0, "cost": 0.0}
    assert mine["on"]["board"]["values"]["ms"] == {"value": 30.0, "own": 20.0, "cost": 0.5}
    assert mine["on"]["board"]["values"]["accuracy"]["cost"] == pytest.approx(0.1)
    assert theirs["on"]["here"]["values"]["ms"]["cost"] == pytest.approx(0.2)
    assert compared["one_for_all"] == {
        "of": "board",
        "id": 2,
        "worst": pytest.approx(0.2),
        "metric": "ms",
        "device": "here",
    }


def test_a_cost_has_an_interval_if_both_values_have_one() -> None:
    def measured(id: int, step: str, ms: float, half: float) -> dict[str, Any]:
        made = row(id, step, ms)
        made["metrics"]["ms"] |= {"low": ms - half, "high": ms + half}
        return made

    here = found(1, measured(1, "a", 10.0, 0.3), measured(2, "b", 12.0, 0.4))
    board = found(2, measured(1, "a", 30.0, 3.0), measured(2, "b", 20.0, 4.0))
    mine, theirs = across({"here": here, "board": board})["picks"]
    cost = theirs["on"]["here"]["values"]["ms"]
    assert cost["cost"] == pytest.approx(0.2)
    assert (cost["cost_low"], cost["cost_high"]) == pytest.approx((0.15, 0.25))
    there = mine["on"]["board"]["values"]
    assert (there["ms"]["cost_low"], there["ms"]["cost_high"]) == pytest.approx((0.25, 0.75))
    assert "cost_low" not in there["accuracy"], "these values have no intervals"
    assert "cost_low" not in mine["on"]["here"]["values"]["ms"], "it is the same measurement"


def test_the_same_recipe_with_other_settings_stands_for_a_pick() -> None:
    here = found(1, row(1, "a", 10.0))
    board = found(5, row(3, "a", 40.0, **TWO), row(4, "a", 30.0, **TWO), row(5, "b", 20.0))
    on_board = across({"here": here, "board": board})["picks"][0]["on"]["board"]
    assert on_board["id"] == 4
    assert on_board["values"]["ms"]["value"] == 30.0


def test_one_that_is_feasible_stands_before_a_better_one_that_is_not() -> None:
    here = found(1, row(1, "a", 10.0))
    board = found(4, row(3, "a", 1.0, feasible=False), row(4, "a", 30.0))
    assert across({"here": here, "board": board})["picks"][0]["on"]["board"]["id"] == 4


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        ([row(1, "a", 10.0, outcome="pruned", reason="dominated")], "pruned: dominated"),
        ([row(1, "a", 10.0, outcome="crashed")], "crashed"),
        ([], "it was not tried there"),
    ],
)
def test_what_was_not_measured_there_says_why(there: list[dict[str, Any]], reason: str) -> None:
    here = found(1, row(1, "a", 10.0))
    board = found(9, *there, row(9, "b", 20.0))
    compared = across({"here": here, "board": board})
    assert compared["picks"][0]["on"]["board"] == {"id": None, "reason": reason}
    assert compared["one_for_all"] is None, "what no device knows is not guessed"


def test_a_device_without_a_pick_has_no_row_and_rules_out_one_for_all() -> None:
    here = found(1, row(1, "a", 10.0))
    board = found(None, row(1, "a", 20.0, feasible=False))
    compared = across({"here": here, "board": board})
    assert [pick["of"] for pick in compared["picks"]] == ["here"]
    on_board = compared["picks"][0]["on"]["board"]
    assert on_board["values"]["ms"] == {"value": 20.0, "own": None, "cost": None}
    assert compared["one_for_all"] is None


def test_one_model_may_serve_all_without_loss() -> None:
    here, board = found(1, row(1, "a", 10.0)), found(1, row(1, "a", 20.0))
    chosen = across({"here": here, "board": board})["one_for_all"]
    assert chosen == {"of": "here", "id": 1, "worst": 0.0}
