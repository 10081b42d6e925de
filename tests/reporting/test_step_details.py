"""What passes found, in the report: each finding once, with the candidates that it holds for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from paretune.core.result import StepTime, TrialResult
from paretune.reporting.page import write_report
from paretune.reporting.step_details import StepDetails, step_details
from paretune.study.results import Results
from tests.reporting.test_page import EVIL, OUTCOMES, document

FOUND = {"summary": "dropped layer 3 of 4", "dropped": [3], "distances": [0.25, 0.123456], "n": 7}


def _with(outcome: TrialResult, details: dict[str, Any], cached: bool = False) -> TrialResult:
    step = StepTime("drop_layers", 2.0, cached, details=details)
    return replace(outcome, seconds=(step, *outcome.seconds))


def test_each_finding_is_shown_once() -> None:
    one, two, three, four = OUTCOMES
    outcomes = [one, _with(two, FOUND), _with(three, FOUND, True), _with(four, {"other": "x"})]
    assert step_details(Results.from_json(document(outcomes))) == [
        StepDetails(
            "drop_layers",
            "dropped layer 3 of 4",
            {"dropped": "3", "distances": "0.25, 0.1235", "n": "7"},
            (2, 3),
        ),
        StepDetails("drop_layers", "", {"other": "x"}, (4,)),
    ]
    assert step_details(Results.from_json(document(list(OUTCOMES)))) == []


def test_the_report_shows_them_as_text(tmp_path: Path) -> None:
    found = Results.from_json(document([_with(OUTCOMES[0], {"summary": EVIL, "a": EVIL})]))
    write_report(found, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "What passes found" in page
    assert EVIL not in page
    write_report(Results.from_json(document(list(OUTCOMES))), tmp_path / "none.html")
    assert "What passes found" not in (tmp_path / "none.html").read_text()
