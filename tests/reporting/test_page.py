"""What people read of a study: the report, the CSV, the model card, the results document."""

import csv
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.errors import StateError
from paretune.core.measurement import Measurement, Rung
from paretune.core.parent import BuildCost, Parent
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.reporting.answer import plain_answer
from paretune.reporting.csv_export import write_csv
from paretune.reporting.model_card import write_model_card
from paretune.reporting.page import script_json, view, write_report
from paretune.runtimes.sample_program import write_sample
from paretune.search.constraints import Objective, parse_constraint
from paretune.search.summary import summarize
from paretune.search.tolerance import Tolerance
from paretune.study.results import SCHEMA_FILE, Results, read_results, schema_text
from paretune.study.results_document import ResultsDocument

OBJECTIVES = (
    Objective("accuracy", "maximize", Tolerance(0.03)),
    Objective("decode_ms_p50", "minimize"),
)
EVIL = "</script><script>alert(1)</script> =HYPERLINK(1) | *x* \x1b[31m"


def outcome(
    id: int, kind: OutcomeKind, accuracy: float | None, ms: float, **params: Any
) -> TrialResult:
    measured = {
        "decode_ms_p50": Measurement("decode_ms_p50", ms, "ms", ms - 0.1, ms + 0.1, 9, "t-1")
    }
    if accuracy is not None:
        measured["accuracy"] = Measurement(
            "accuracy", accuracy, "fraction", accuracy - 0.02, accuracy + 0.02, 100, "wilson-1"
        )
    return TrialResult(
        id,
        Candidate((Step("genai", params),), RuntimeSettings("cpu", 2)),
        kind,
        Rung.FULL if kind is OutcomeKind.OK else Rung.ROUGH,
        None if kind is OutcomeKind.OK else f"because {EVIL}",
        measurements=measured,
        artifact=f"sha256:{id}",
        seconds=(StepTime("genai", 3.0, id > 1), StepTime("generation:full", 2.0, False)),
    )


OUTCOMES = [
    outcome(1, OutcomeKind.OK, 0.90, 40.0, precision="fp32"),
    outcome(2, OutcomeKind.OK, 0.89, 10.0, precision="int8"),
    outcome(3, OutcomeKind.OK, 0.60, 9.0, precision="int4"),
    outcome(4, OutcomeKind.INVALID, None, 5.0, precision=EVIL),
]


def document(
    outcomes: list[TrialResult], *constraints: str, status: str = "finished"
) -> dict[str, Any]:
    parsed = tuple(parse_constraint(text) for text in constraints)
    base = outcomes[0] if outcomes else None
    summary = summarize(outcomes, OBJECTIVES, parsed, base)
    digest = OUTCOMES[0].candidate.digest
    made = ResultsDocument("s", "sha256:c", {"processor": "P"}, OBJECTIVES, parsed, digest)
    whole = made.results(outcomes, summary, status)
    found: dict[str, Any] = json.loads(made.text(whole))
    assert Results.from_json(found) == whole
    return found


def test_the_document_keeps_the_contract() -> None:
    results = document(OUTCOMES, "accuracy >= baseline - 0.05")
    Results.model_validate(results)
    assert results["schema"] == 1
    assert results["constraints"] == [
        {
            "metric": "accuracy",
            "op": ">=",
            "value": pytest.approx(0.85),
            "text": "accuracy >= baseline - 0.05",
        }
    ]
    assert results["baseline"]["metrics"]["accuracy"]["value"] == 0.90
    assert (results["pareto"], results["best"]) == ([1, 2], 2)
    row = results["candidates"][1]
    assert row["recipe"] == [{"pass": "genai", "params": {"precision": "int8"}}]
    assert (row["outcome"], row["feasible"], row["pareto"]) == ("ok", True, True)
    assert row["seconds"][0] == {"step": "genai", "s": 3.0, "cached": True}


def test_nothing_yet_and_nothing_feasible() -> None:
    empty = document([], status="running")
    Results.model_validate(empty)
    assert plain_answer(Results.from_json(empty)) == ["Nothing has been measured yet."]
    assert "a longer --time" in plain_answer(Results.from_json(document([])))[0]
    assert "same command" in plain_answer(Results.from_json(document([], status="interrupted")))[0]
    none = document(OUTCOMES, "decode_ms_p50 <= 1")
    assert none["best"] is None
    assert none["nearest_miss"]["id"] == 3  # 4 is faster, and does not run
    assert "No candidate meets every constraint." in plain_answer(Results.from_json(none))[0]


def test_candidates_without_a_value_of_an_objective_are_not_said_to_miss_a_limit() -> None:
    unmeasured = [outcome(n, OutcomeKind.OK, None, 10.0, precision=f"int{n}") for n in (1, 2)]
    told = plain_answer(Results.from_json(document(unmeasured)))
    assert told[0].startswith("None of 2 feasible candidates can be chosen")
    assert told[1] == "2 of them have no value of accuracy (it was not measured)."


def test_the_answer_says_why() -> None:
    told = " ".join(plain_answer(Results.from_json(document(OUTCOMES))))
    assert "Ship candidate 2: genai (precision=int8)" in told
    assert "accuracy is within 0.03 of the best value, it has the lowest decode_ms_p50" in told
    assert "0.25 × the time per token" in told


def test_the_best_so_far_is_drawn_and_listed(tmp_path: Path) -> None:
    results = Results.from_json(document(OUTCOMES))
    assert [p.best for p in results.progress] == [1, 2, 2, 2]
    assert results.progress[-1].hypervolume == 1
    write_report(results, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert 'id="progress"' in page
    assert page.count('<td class="n">100.0</td></tr>') == 2
    none = Results.from_json(document(OUTCOMES, "accuracy >= 0.99"))
    assert (none.progress, none.progress_reference) == ([], None)
    write_report(none, tmp_path / "r.html")
    assert 'id="progress"' not in (tmp_path / "r.html").read_text()


def test_the_shipped_schema_is_current() -> None:
    assert SCHEMA_FILE.read_text() == schema_text(), "run: python -m paretune.study.results"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2}', "[" * 100_000])
def test_a_damaged_document_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(StateError, match=r"results\.json"):
        read_results(tmp_path / "results.json")


def test_the_report_is_one_file_that_asks_for_nothing(tmp_path: Path) -> None:
    write_report(Results.from_json(document(OUTCOMES, "accuracy >= 0.8")), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", page)
    for told in ("Ship candidate 2", "the pick", "baseline", "accuracy &gt;= 0.8", "invalid"):
        assert told in page


def test_text_from_elsewhere_does_nothing(tmp_path: Path) -> None:
    results = document(OUTCOMES)
    write_report(Results.from_json(results), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert "</script>" not in script_json(results)
    typed = Results.from_json(results)
    write_model_card(typed, typed.candidates[3], tmp_path / "c.md", EVIL, "genai")
    card = (tmp_path / "c.md").read_text()
    assert "\x1b" not in card
    assert "<script>" not in card
    write_csv(Results.from_json(results), tmp_path / "r.csv")
    with open(tmp_path / "r.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1]["accuracy"] == "0.89"
    assert rows[1]["genai.precision"] == "int8"
    assert float(rows[0]["accuracy.low"]) == pytest.approx(0.88)


def test_a_cell_is_never_a_formula(tmp_path: Path) -> None:
    results = document([outcome(1, OutcomeKind.OK, 0.9, 1.0, precision="=1+1")])
    write_csv(Results.from_json(results), tmp_path / "r.csv")
    with open(tmp_path / "r.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["genai.precision"] == "'=1+1"


def test_what_each_constraint_cost_and_where_time_went() -> None:
    shown = view(Results.from_json(document(OUTCOMES, "accuracy >= 0.8")), {})
    (cost,) = shown["costs"]
    assert (cost["broken"], cost["measured"]) == (1, 3)
    assert shown["spent"]["saved"] == 9.0
    assert shown["spent"]["steps"][0] == {
        "step": "generation:full",
        "s": 8.0,
        "share": 8 / 11,
        "saved": 0,
    }


@pytest.mark.parametrize("kind", ["genai", "hf"])
@pytest.mark.parametrize("chat", [False, True])
def test_the_sample_is_a_program(tmp_path: Path, kind: str, chat: bool) -> None:
    write_sample(tmp_path / "sample.py", kind, 'a "quoted" {prompt}\n', chat, 8)
    compile((tmp_path / "sample.py").read_text(), "sample.py", "exec")


def test_the_answer_says_who_cannot_be_told_apart() -> None:
    results = document(OUTCOMES)
    Results.model_validate(results)
    best = results["best"]
    results["groups"] = [{"members": [best, 98], "pick": best, "reason": "leads by a hair"}]
    results["membership"] = [
        {"id": best, "sure": False, "rivals": [98]},
        {"id": 98, "sure": False, "rivals": [best, 99]},
        {"id": 99, "sure": True, "rivals": []},
    ]
    told = " ".join(plain_answer(Results.from_json(results)))
    assert "The measurements cannot distinguish it from candidate 98; " in told
    assert "it was chosen because it leads by a hair" in told
    assert f"some candidates of the front may be dominated: 98 (by {best} or 99)." in told
    assert "99 (perhaps" not in told


def test_doubt_about_a_pick_that_is_alone_on_the_front_is_told() -> None:
    results = document(OUTCOMES)
    best = results["best"]
    results |= {"groups": [], "membership": [{"id": best, "sure": False, "rivals": [98]}]}
    told = " ".join(plain_answer(Results.from_json(results)))
    assert "candidate 98 may be the better choice" in told
    results["membership"] = [{"id": best, "sure": True, "rivals": []}]
    assert "may be the better choice" not in " ".join(plain_answer(Results.from_json(results)))


def test_a_pick_that_may_miss_a_limit_after_all_says_so() -> None:
    results = document(OUTCOMES, "accuracy >= 0.1")
    near = {"id": results["best"], "constraint": "accuracy >= 0.1", "met": None}
    results["near_limits"] = [near]
    told = " ".join(plain_answer(Results.from_json(results)))
    assert "It meets accuracy >= 0.1 by the measured value, but may miss it: " in told
    results["near_limits"] = [{**near, "met": True}, {**near, "id": 99}]
    assert "but may miss it" not in " ".join(plain_answer(Results.from_json(results)))


def test_a_row_says_what_it_does_not_surely_meet_or_break() -> None:
    results = document(OUTCOMES, "accuracy >= 0.8")
    rows = view(Results.from_json(results), {})["rows"]
    broken, met = (
        next(r for r in rows if bool(r.broken) is said and r.entry.feasible is not said)
        for said in (True, False)
    )
    results["near_limits"] = [
        {"id": row.entry.id, "constraint": "accuracy >= 0.8", "met": None} for row in (broken, met)
    ]
    shown = {row.entry.id: row for row in view(Results.from_json(results), {})["rows"]}
    assert shown[broken.entry.id].broken == ["accuracy >= 0.8 (uncertain)"]
    assert shown[broken.entry.id].unsure == []
    assert shown[met.entry.id].unsure == ["accuracy >= 0.8"]


def test_where_nothing_fits_those_that_may_fit_are_named() -> None:
    results = document(OUTCOMES, "accuracy >= 1")
    assert results["best"] is None
    results["near_limits"] = [{"id": 1, "constraint": "accuracy >= 1", "met": None}]
    told = " ".join(plain_answer(Results.from_json(results)))
    assert "With longer measurements, candidate 1 may meet every constraint" in told
    results["near_limits"].append({"id": 1, "constraint": "size_mb <= 1", "met": False})
    assert "With longer measurements" not in " ".join(plain_answer(Results.from_json(results)))


def test_the_table_shows_what_is_asked_first_and_no_empty_column() -> None:
    few, long = "too few samples", "decode_ms_p50@512"
    entry = {"value": 1.0, "low": None, "high": None, "n": 3, "unit": "ms", "reason": None}
    none = {**entry, "value": None, "reason": few}
    results = document(OUTCOMES[:3], "size_mb <= 9")
    for row, value in zip(results["candidates"], (none, entry, none), strict=True):
        row["metrics"] |= {
            "load_s": value,
            long: entry,
            "ttft_ms_p95": none,
            "size_mb": entry,
            "ttft_ms_p99": none,
        }
    shown = view(Results.from_json(results), {})
    assert shown["columns"] == (["accuracy", "decode_ms_p50", "size_mb"], ["load_s"], [long])
    assert shown["valueless"] == {few: ["ttft_ms_p95", "ttft_ms_p99"]}


def test_the_page_says_what_has_no_value_and_where_further_lengths_are(tmp_path: Path) -> None:
    results = document(OUTCOMES[:2])
    entry = {"value": None, "low": None, "high": None, "n": 3, "unit": "ms", "reason": "too few"}
    for row in results["candidates"]:
        row["metrics"] |= {"ttft_ms_p95": entry, "load_s@7": {**entry, "value": 2.0}}
    write_report(Results.from_json(results), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "No candidate has a value of ttft_ms_p95: too few." in page
    assert "the number after @ is the number of tokens" in page
    heads = re.findall(r"<th[^>]*>(.*?)</th>", page)
    names = [head.partition("<br>")[0] for head in heads]
    assert names.index("decode_ms_p50") < names.index("why") < names.index("load_s@7")
    assert "ttft_ms_p95" not in names


def test_a_limit_on_what_has_no_value_is_not_called_met(tmp_path: Path) -> None:
    for metrics, told in (({}, "it was not measured"), ({"value": None}, "130 samples are needed")):
        results = document(OUTCOMES[:3], "accuracy >= 0.5")
        for row in results["candidates"]:
            del row["metrics"]["accuracy"]
            if metrics:
                row["metrics"]["accuracy"] = {
                    "value": None,
                    "low": None,
                    "high": None,
                    "n": 3,
                    "unit": "",
                    "reason": "130 samples are needed",
                    "remarks": [],
                }
            row["feasible"] = row["pareto"] = False
        results |= {"best": None, "pareto": [], "nearest_miss": None, "pick": None}
        answer = " ".join(plain_answer(Results.from_json(results)))
        assert "3 of 3 measured candidates cannot meet accuracy >= 0.5" in answer
        assert told in answer
        write_report(Results.from_json(results), tmp_path / "r.html")
        page = (tmp_path / "r.html").read_text()
        assert "meets every constraint" not in page.partition("<tbody>")[2].partition("</tbody>")[0]
        assert page.count("cannot meet accuracy &gt;= 0.5 (no value of accuracy") == 3
        assert "0 of 0 measured" in page


def test_a_limit_relative_to_what_the_baseline_lacks_is_not_called_met(tmp_path: Path) -> None:
    results = document(OUTCOMES[:3], "accuracy >= 0.5")
    results["constraints"][0] |= {"value": None, "text": "accuracy >= baseline"}
    for row in results["candidates"]:
        row["feasible"] = row["pareto"] = False
    results |= {"best": None, "pareto": [], "nearest_miss": None, "pick": None}
    assert "No candidate can meet accuracy >= baseline: the baseline has no accuracy" in " ".join(
        plain_answer(Results.from_json(results))
    )
    write_report(Results.from_json(results), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert page.count("(the baseline has no accuracy)") == 3


def test_every_setting_of_the_runtime_is_shown(tmp_path: Path) -> None:
    """Candidates that differ in a setting alone must not look the same."""
    tuned = [
        replace(
            outcome(id, OutcomeKind.OK, 0.9, 10.0 * id),
            candidate=Candidate(
                (), RuntimeSettings("cpu", 2, (("graph_optimization", level),), "onnxruntime")
            ),
        )
        for id, level in ((1, "basic"), (2, "all"))
    ]
    results = Results.from_json(document(tuned))
    write_report(results, tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    for level in ("basic", "all"):
        assert f"cpu\N{NO-BREAK SPACE}×2 graph_optimization={level}</td>" in text
    write_model_card(results, results.candidates[1], tmp_path / "c.md", "m", "onnx")
    assert r"2 threads, graph\_optimization all" in (tmp_path / "c.md").read_text(encoding="utf-8")


def test_a_value_of_another_candidate_is_marked_everywhere(tmp_path: Path) -> None:
    better = outcome(5, OutcomeKind.OK, 0.95, 10.0, precision="int8", seed=2)
    measured = dict(better.measurements or {})
    measured["decode_ms_p50"] = measured["decode_ms_p50"].noting(taken_from=2)
    better = replace(better, measurements=measured, structure="sha256:s")
    results = Results.from_json(document([*OUTCOMES, better]))
    row = results.candidates[-1]
    assert (row.structure, row.metrics["decode_ms_p50"].taken_from) == ("sha256:s", 2)
    assert row.metrics["decode_ms_p50"].remarks == [
        "taken over from candidate 2, a build of the same structure"
    ]
    limited = Results.from_json(document([*OUTCOMES, better], "decode_ms_p50 <= 20"))
    assert not limited.candidates[-1].feasible
    assert view(limited, {})["rows"][-1].of_others == [
        "decode_ms_p50 <= 20 (taken over from candidate 2)"
    ]
    # It dominates the pick by that value, and is not the pick.
    assert (results.best, row.pareto) == (2, False)
    assert any("candidate 5 may be on the Pareto front" in note for note in results.notes)
    write_report(results, tmp_path / "r.html")
    assert "<small>of 2</small>" in (tmp_path / "r.html").read_text(encoding="utf-8")
    write_csv(results, tmp_path / "r.csv")
    with open(tmp_path / "r.csv", newline="", encoding="utf-8") as file:
        cells = [line["decode_ms_p50.taken_from"] for line in csv.DictReader(file)]
    assert cells == ["", "", "", "", "2"]


def test_a_parent_is_shown_with_what_the_build_costs(tmp_path: Path) -> None:
    """In results.json, after a round trip of the outcome, and in the report."""
    whole = Measurement("accuracy", 0.75, "fraction", 0.7, 0.8, 40)
    ends = {"perplexity": (11.5, math.inf), "accuracy": (0.75, 0.75)}
    one_end = Measurement("perplexity", 12.0, "", low=11.0, n=20)
    cost = BuildCost(-0.025, -0.05, 0.0, 40, -0.025)
    parent = Parent("sha256:p", 2, {"accuracy": whole, "perplexity": one_end}, ends)
    built = replace(OUTCOMES[1], parent=replace(parent, costs={"accuracy": cost}))
    again = TrialResult.from_json(built.to_json()).parent
    assert again is not None
    assert again.to_json() == built.to_json()["parent"]
    results = Results.from_json(document([OUTCOMES[0], built]))
    found = results.candidates[1].parent
    assert results.candidates[0].parent is None
    assert found is not None
    assert found.bounds == {"perplexity": (11.5, None), "accuracy": (0.75, 0.75)}
    assert found.metrics["perplexity"].low is None
    write_report(results, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "accuracy before its build 0.75 (40 samples); the build changes it by -0.025" in page
    assert "(-0.05 to 0) on the same 40" in page
    assert "perplexity before its build 12 (20 samples)" in page
