"""Learning curves in the report: the pick's first, no text trusted, points that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paretune.reporting.curves_figure import curves_figure
from paretune.reporting.page import write_report
from paretune.reporting.step_details import StepDetails, step_details
from paretune.study.results import Results
from tests.reporting.test_page import EVIL, OUTCOMES, document
from tests.reporting.test_step_details import _with

LINES = {"training loss": [[1, 4.0], [2, 3.0]], "held-out loss": [[2, 3.5]]}
CURVES = {"x": "optimizer steps", "y": "loss", "lines": LINES}


def _step(*candidates: int, **curves: Any) -> StepDetails:
    return StepDetails("lora", "", {}, candidates, {**CURVES, **curves})


def _figure(steps: list[StepDetails], best: int | None = 2) -> Any:
    return curves_figure(steps, best)


def test_each_training_has_a_color_and_the_picks_comes_first() -> None:
    figure = _figure([_step(1), _step(2, 3), StepDetails("merge", "", {"n": "1"}, (1,))])
    assert [trace["name"] for trace in figure["data"]] == [
        "lora, training loss, candidates 2, 3 (the pick)",
        "lora, held-out loss, candidates 2, 3 (the pick)",
        "lora, training loss, candidate 1",
        "lora, held-out loss, candidate 1",
    ]
    first, second, third, _ = figure["data"]
    assert (first["x"], first["y"]) == ([1.0, 2.0], [4.0, 3.0])
    assert first["line"]["color"] == second["line"]["color"] != third["line"]["color"]
    assert (first["line"]["dash"], second["line"]["dash"]) == ("solid", "dash")
    assert figure["layout"]["xaxis"]["title"]["text"] == "optimizer steps"
    assert figure["missing"] == 0


def test_many_are_not_all_drawn_and_the_picks_is() -> None:
    figure = _figure([_step(n) for n in range(20)], best=19)
    assert len(figure["data"]) == 2 * 8
    assert "candidate 19 (the pick)" in figure["data"][0]["name"]
    assert figure["missing"] == 12


@pytest.mark.parametrize(
    "lines",
    [
        None,
        [],
        {},
        {"a": None},
        {"a": [1, 2]},
        {"a": [[1]]},
        {"a": [["1", 2.0]]},
        {"a": [[1, None], [True, 2.0], [1, float("nan")], [1, float("inf")]]},
    ],
)
def test_what_is_no_curve_is_not_drawn(lines: Any) -> None:
    assert _figure([_step(1, lines=lines)]) is None
    assert _figure([]) is None
    assert len(_figure([_step(1, lines={"bad": lines, "good": [[1, 2.0]]})])["data"]) == 1


def test_the_report_draws_them_and_trusts_no_text(tmp_path: Path) -> None:
    found = {"summary": "8 steps", "curves": {"x": EVIL, "y": EVIL, "lines": {EVIL: [[1, 2.0]]}}}
    results = Results.from_json(document([_with(OUTCOMES[0], found)]))
    (step,) = step_details(results)
    assert step.figures == {}
    assert step.curves == found["curves"]
    write_report(results, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Learning curves" in page
    assert EVIL not in page
    assert json.dumps(EVIL)[1:-1] not in page
    write_report(Results.from_json(document(list(OUTCOMES))), tmp_path / "none.html")
    assert "Learning curves" not in (tmp_path / "none.html").read_text()
