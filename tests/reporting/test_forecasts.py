"""What the report says of a search's forecasts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.core.trial_forecast import MetricForecast, TrialForecast
from paretune.reporting.forecast_figures import compared, forecast_figures
from paretune.reporting.forecast_words import (
    SECONDS,
    asking_sentence,
    forecast_sentence,
    verdict,
)
from paretune.reporting.page import write_report
from paretune.search.constraints import Objective
from paretune.search.summary import summarize
from paretune.study.results import Results, read_results
from paretune.study.results_document import ResultsDocument
from paretune.study.results_forecasts import QualityEntry

OBJECTIVES = (Objective("size_mb", "minimize"), Objective("accuracy", "maximize"))


def outcome(id: int, size: float, told: float | None, *, off: float = 1.0) -> TrialResult:
    """Return an outcome; its accuracy was expected `off` times as far from the mean as it is."""
    accuracy = 0.5 + 0.03 * (id % 7)
    forecast = None
    if told is not None:
        expected = 0.59 + off * (accuracy - 0.59)
        forecast = TrialForecast(
            {
                "size_mb": MetricForecast(told, 0.9 * told, 1.1 * told),
                "accuracy": MetricForecast(expected, expected - 0.01, expected + 0.01),
            },
            success=1.0,
            feasible=0.75,
            seconds=2.0,
            gain=0.01,
        )
    return TrialResult(
        id,
        Candidate((Step("genai", {"x": id}),), RuntimeSettings("cpu", 2)),
        OutcomeKind.OK,
        measurements={
            "size_mb": Measurement("size_mb", size, "MB"),
            "accuracy": Measurement("accuracy", accuracy, "fraction", 0.0, 1.0),
        },
        seconds=(StepTime("genai", 2.0, False),),
        forecast=forecast,
        asked_s=None if told is None else 0.05,
    )


def results(outcomes: list[TrialResult], status: str = "finished") -> Results:
    document = ResultsDocument("s", "sha256:c", {}, OBJECTIVES, (), "")
    return document.results(outcomes, summarize(outcomes, OBJECTIVES, (), None), status)


def study(count: int = 12, *, off: float = 1.0) -> list[TrialResult]:
    sizes = [100.0 * 1.5 ** (id % 5) for id in range(1, count + 1)]
    told = [None] * 4 + [size * 1.02 for size in sizes[4:]]
    return [
        outcome(id, size, expected, off=off)
        for id, (size, expected) in enumerate(zip(sizes, told, strict=True), start=1)
    ]


def quality(error: float, trivial: float | None, inside: int = 19, n: int = 20) -> QualityEntry:
    return QualityEntry(
        candidates=list(range(n)),
        intervals=n,
        inside=inside,
        error=error,
        relative=True,
        mean_error=trivial,
        last_error=None if trivial is None else 2 * trivial,
        rank_correlation=0.5,
    )


def test_the_results_hold_each_forecast_and_their_quality(tmp_path: Path) -> None:
    found = results(study())
    document = ResultsDocument("s", "sha256:c", {}, OBJECTIVES, (), "")
    summary = summarize(study(), OBJECTIVES, (), None)
    (tmp_path / "results.json").write_text(
        document.text(document.results(study(), summary, "finished"))
    )
    assert read_results(tmp_path / "results.json") == found
    assert found.candidates[0].forecast is None
    told = found.candidates[5].forecast
    assert told is not None
    assert told.metrics["size_mb"].high == pytest.approx(1.1 * told.metrics["size_mb"].value)
    assert found.forecasts is not None
    assert found.forecasts.metrics["size_mb"].candidates == list(range(5, 13))
    assert found.forecasts.metrics["size_mb"].error == pytest.approx(0.02)
    assert found.forecasts.seconds is not None
    assert found.forecasts.seconds.error == 0.0
    assert found.search_seconds is not None
    assert found.search_seconds.share == pytest.approx(0.025)
    running = results(study(), "running").to_json()
    assert "forecasts" not in running
    assert "search_seconds" not in running
    assert "forecasts" not in results([outcome(1, 5.0, None)]).to_json()


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (quality(0.01, 0.2), "good"),
        (quality(0.01, None), "good"),
        (quality(0.0, 0.0, inside=20), "good"),
        (quality(0.19, 0.2), "no better than the mean of the earlier values or the last one"),
        (quality(0.3, 0.2), "worse than the mean of the earlier values or the last one"),
        (quality(0.63, 3.7), "half of them off by more than 63 %"),
        (quality(0.01, 0.2, inside=12), "intervals too narrow (12 of 20 values inside)"),
        (quality(0.3, 0.2, inside=0, n=4), "too few to judge"),
        (
            quality(0.3, 0.2, inside=2),
            "intervals too narrow (2 of 20 values inside) and worse than the mean of the earlier "
            "values or the last one",
        ),
    ],
)
def test_each_quality_has_its_words(found: QualityEntry, words: str) -> None:
    assert verdict(found) == words


def test_the_sentence_says_what_was_good_and_what_was_bad() -> None:
    good = f"The forecasts of size_mb, accuracy and {SECONDS} were good."
    assert forecast_sentence(results(study())) == good
    assert forecast_sentence(results(study(off=-1.0))) == (
        f"The forecasts of size_mb and {SECONDS} were good; those of accuracy were bad: intervals "
        "too narrow (1 of 8 values inside) and worse than the mean of the earlier values or the "
        "last one."
    )
    few = f"The forecasts of size_mb, accuracy and {SECONDS} are too few to judge."
    assert forecast_sentence(results(study(7))) == few
    assert forecast_sentence(results(study(4))) is None


def test_what_choosing_cost_is_one_sentence() -> None:
    assert asking_sentence(results(study()).search_seconds) == (
        "Choosing the next candidate took 0.05 s (median, 2.5 % of the median trial's 2 s), at "
        "most 0.05 s, and 0.4 s in all."
    )
    assert asking_sentence(None) is None


def test_the_charts_show_what_counts() -> None:
    found = results(study(off=-1.0))
    pairs = compared(found)
    assert [len(each) for each in pairs.values()] == [8, 8, 8]
    assert sum(pair.inside for pair in pairs["accuracy"]) == 1
    figures = {figure["name"]: figure for figure in forecast_figures(found)}
    assert list(figures) == ["size_mb", "accuracy", SECONDS]
    ideal, inside, outside = figures["accuracy"]["data"]
    assert (len(ideal["x"]), len(inside["x"]), len(outside["x"])) == (2, 1, 7)
    assert outside["error_y"]["array"] == pytest.approx([0.01] * 7)
    assert figures["accuracy"]["layout"]["yaxis"]["title"]["text"] == "forecast"
    assert figures["size_mb"]["layout"]["yaxis"]["title"]["text"] == "forecast, MB"
    assert forecast_figures(results(study(4))) == []


def test_the_report_has_a_section_only_where_there_were_forecasts(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_report(results(study(off=-1.0)), page)
    text = page.read_text()
    assert "<h2>Forecasts</h2>" in text
    assert "those of accuracy were bad" in text
    assert "forecast before it was started: 102 (91.8 to 112.2)" in text
    assert "Choosing the next candidate took" in text
    assert 'id="forecast-2"' in text
    write_report(results(study(4)), page)
    assert "<h2>Forecasts</h2>" not in page.read_text()


def test_a_metric_with_any_name_can_be_shown(tmp_path: Path) -> None:
    evil = "</script><b>1"
    outcomes = study()
    for place, one in enumerate(outcomes):
        text = json.dumps(one.to_json()).replace("accuracy", "<\\/script><b>1")
        outcomes[place] = TrialResult.from_json(json.loads(text))
    page = tmp_path / "report.html"
    write_report(results(outcomes), page)
    assert page.read_text().count(evil) == 0
