"""The report's picture of latency against length."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
import yaml

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.measurement import Measurement, Rung
from paretune.core.result import OutcomeKind, TrialResult
from paretune.evaluators.generation.workload import GenerationParams, cases_of
from paretune.reporting.latency_figure import latency_figure, measured_cases
from paretune.reporting.outputs import write_views
from paretune.reporting.page import write_report
from paretune.search.constraints import Objective
from paretune.search.summary import summarize
from paretune.study.results import Results
from paretune.study.results_document import ResultsDocument

PARAMS = {"prompt_tokens": [64, 512], "context": [0, 1024, 4096], "new_tokens": 32}
CASES = cases_of(GenerationParams(**PARAMS))  # type: ignore[arg-type]
OBJECTIVES = (Objective("decode_ms_p50", "minimize"), Objective("size_mb", "minimize"))


def outcome(id: int, ms: float, size: float, precision: str, missing: str = "") -> TrialResult:
    values = {"size_mb": Measurement("size_mb", size, "MB", size, size, 1, "exact-1")}
    for case in CASES:
        for base, value in (
            ("decode_ms_p50", ms * (1 + case.before / 4096)),
            ("ttft_ms_p50", ms * case.prompt / 8 * (1 + case.context / 8192)),
        ):
            name = f"{base}{case.suffix}"
            values[name] = (
                Measurement(name, None, "ms", reason="too long")
                if name == missing
                else Measurement(name, value, "ms", 0.95 * value, 1.08 * value, 9, "device-2")
            )
    return TrialResult(
        id,
        Candidate((Step("genai", {"precision": precision}),), RuntimeSettings("cpu", 2)),
        OutcomeKind.OK,
        Rung.FULL,
        None,
        measurements=values,
        artifact=f"sha256:{id}",
    )


def results(*outcomes: TrialResult) -> Results:
    base = outcomes[0]
    document = ResultsDocument(
        "tone", "sha256:0", {"memory": 1}, OBJECTIVES, (), base.candidate.digest
    )
    summary = summarize(list(outcomes), OBJECTIVES, (), base, None)
    return document.results(outcomes, summary, "finished")


WHOLE = (
    outcome(1, 40.0, 540.0, "fp32"),
    outcome(2, 20.0, 270.0, "int8"),
    outcome(3, 22.0, 95.0, "<b>int4</b>"),
    outcome(4, 30.0, 300.0, "beaten"),
)


def test_one_line_a_candidate_of_the_front_and_the_baseline() -> None:
    figure = latency_figure(results(*WHOLE), CASES)
    assert figure is not None
    drawn = go.Figure(figure)  # raises on what Plotly does not know
    assert {trace.legendgroup for trace in drawn.data} == {"1", "2", "3"}
    # Two panels, and in each the prompts and the contexts; one entry in the legend.
    assert len(drawn.data) == 3 * 4
    assert [trace.showlegend for trace in drawn.data if trace.legendgroup == "1"].count(True) == 1
    names = {trace.name for trace in drawn.data}
    assert "baseline: 1 genai (fp32), 2 threads" in names
    assert any(name.startswith("the pick: ") for name in names)
    assert not any("<b>" in name for name in names)
    mine = [t for t in drawn.data if t.legendgroup == "2" and t.yaxis == "y"]
    prompts, contexts = sorted(mine, key=lambda trace: trace.line.dash, reverse=True)
    assert prompts.x == (64, 512)
    assert contexts.x == (64, 1024 + 64, 4096 + 64)
    assert contexts.y[0] == prompts.y[0]
    assert contexts.error_y.array[0] == pytest.approx(0.08 * contexts.y[0])
    assert contexts.error_y.arrayminus[0] == pytest.approx(0.05 * contexts.y[0])


def test_a_point_without_a_value_is_left_out() -> None:
    one = outcome(1, 40.0, 540.0, "fp32", missing="decode_ms_p50_context@4096")
    figure = latency_figure(results(one), CASES)
    assert figure is not None
    lines = [t["x"] for t in figure["data"] if t["line"]["dash"] == "dash"]
    assert lines == [[64, 1088], [64, 1088, 4160]]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"evaluate": None},
        {"evaluate": ["generation"]},
        {"evaluate": {"generation": {}}},
        {"evaluate": [{"generation": {"prompt_tokens": 64}}]},
        {"evaluate": [{"generation": {"of_another_version": 1}}]},
        {"evaluate": [{"generation": {1: 2}}]},
        {"evaluate": [[1], 2, None]},
    ],
)
def test_no_picture_of_a_single_length_or_of_none(config: dict[str, Any]) -> None:
    assert latency_figure(results(*WHOLE), measured_cases(config)) is None


def test_the_report_draws_it_where_several_lengths_were_measured(tmp_path: Path) -> None:
    config = {"evaluate": ["footprint", {"generation": PARAMS}]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    write_views(tmp_path, results(*WHOLE), {"paired": {}})
    page = (tmp_path / "report.html").read_text()
    assert page.count('id="latency"') == 1
    (given,) = re.findall(r"const F = (\{.*\});", page)
    assert json.loads(given) == json.loads(json.dumps(latency_figure(results(*WHOLE), CASES)))
    write_report(results(*WHOLE), tmp_path / "plain.html")
    assert 'id="latency"' not in (tmp_path / "plain.html").read_text()


@pytest.mark.parametrize("text", [None, "{", "- 1\n"])
def test_a_configuration_that_cannot_be_read_costs_the_picture_alone(
    tmp_path: Path, text: str | None
) -> None:
    if text is not None:
        (tmp_path / "config.yaml").write_text(text)
    write_views(tmp_path, results(*WHOLE), {"paired": {}})
    assert 'id="latency"' not in (tmp_path / "report.html").read_text()
