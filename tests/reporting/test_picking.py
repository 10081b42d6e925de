"""Another choice from a study follows the search's own rule."""

import json
import shutil
from pathlib import Path

import pytest

from paretune.core.errors import StateError, UsageError
from paretune.core.jsontools import read_json
from paretune.reporting.picking import pick_again, render
from paretune.search.constraints import Objective
from paretune.search.summary import summarize
from paretune.search.tolerance import parse_tolerance
from paretune.study.folder import read_outcomes

FIXTURE = Path(__file__).resolve().parent.parent / "fixtures" / "tone-schema-1"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURE, tmp_path / "study"))


def change(study: Path, **keys: object) -> None:
    file = study / "results.json"
    file.write_text(json.dumps({**read_json(file), **keys}))


def chosen(study: Path, within: str, prefer: str | None = None) -> int | None:
    objectives = (
        Objective("accuracy", "maximize", parse_tolerance(within)),
        Objective("decode_ms_p50", "minimize"),
    )
    return summarize(read_outcomes(study), objectives, (), None, prefer).best


def test_the_rule_is_the_searchs_own(study: Path) -> None:
    two = ([], ["accuracy"])
    for within in ("0", "1%", "0.03", "30%"):
        picked = pick_again(
            study, "", ["decode_ms_p50"], two[1], within=[within], prefer="accuracy"
        )
        assert picked["best"] == chosen(study, within)
        assert picked["objectives"][1]["within"] == parse_tolerance(within).to_json()
    assert chosen(study, "0") != chosen(study, "30%")


def test_the_studys_tolerances_and_preference_hold_unless_others_are_given(study: Path) -> None:
    objectives = [
        {"metric": "accuracy", "direction": "maximize", "within": "30%"},
        {"metric": "decode_ms_p50", "direction": "minimize", "within": 0},
    ]
    change(study, objectives=objectives)
    assert pick_again(study, "", [], [])["best"] == chosen(study, "30%")
    assert pick_again(study, "", [], [], within=["0"])["best"] == chosen(study, "0")
    named = pick_again(study, "", [], [], within=["decode_ms_p50=2", "accuracy=0"])
    assert [o["within"] for o in named["objectives"]] == [0.0, 2.0]
    change(study, objectives=objectives, prefer="decode_ms_p50")
    fastest = pick_again(study, "", [], [])
    assert (fastest["best"], fastest["prefer"]) == (
        chosen(study, "0", "decode_ms_p50"),
        "decode_ms_p50",
    )
    assert pick_again(study, "", [], [], prefer="accuracy")["best"] == chosen(study, "30%")
    own_order = pick_again(study, "", ["size_mb"], ["accuracy"])
    assert own_order["prefer"] is None
    assert own_order["objectives"][1]["within"] == "30%"


def test_the_preference_of_an_older_study_is_read_from_its_configuration(study: Path) -> None:
    config = study / "config.yaml"
    config.write_text(config.read_text() + "\n")
    text = config.read_text()
    assert "\nsearch:\n" in text
    config.write_text(text.replace("\nsearch:\n", "\nsearch:\n  prefer: decode_ms_p50\n"))
    picked = pick_again(study, "", [], [])
    assert picked["prefer"] == "decode_ms_p50"
    assert picked["best"] == chosen(study, "1%", "decode_ms_p50")


@pytest.mark.parametrize(
    ("within", "prefer", "told"),
    [
        (["much"], None, "expected a number in the metric's unit"),
        (["acuracy=1%"], None, "is not an objective"),
        (["1"], None, "write 0.01"),
        (["accuracy=100%"], None, "every value down to 0"),
        ([], "size_mb", "is not an objective"),
    ],
)
def test_what_is_refused(study: Path, within: list[str], prefer: str | None, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        pick_again(study, "", [], ["accuracy"], within=within, prefer=prefer)
    assert told in str(caught.value)


def test_contradictions_are_refused_and_the_worse_end_is_told(study: Path) -> None:
    with pytest.raises(UsageError, match="both --minimize and --maximize"):
        pick_again(study, "", ["accuracy"], ["accuracy"])
    picked = pick_again(study, "", ["accuracy"], [])
    assert "note: objectives: minimize accuracy, though more is better" in render(picked)


def test_a_limit_without_a_number_is_told(study: Path) -> None:
    change(study, baseline=None)
    picked = pick_again(study, "accuracy >= baseline - 0.1", [], [])
    assert picked["best"] is None
    assert "'accuracy >= baseline - 0.1' cannot be evaluated" in render(picked)


def test_a_tolerance_that_is_none_is_a_damaged_document(study: Path) -> None:
    change(study, objectives=[{"metric": "accuracy", "direction": "maximize", "within": "lots"}])
    with pytest.raises(StateError, match="objectives"):
        pick_again(study, "", [], [])


def test_a_study_without_a_measurement_is_told_from_an_unknown_metric(study: Path) -> None:
    with pytest.raises(UsageError, match="no metric 'speed' in this study"):
        pick_again(study, minimize=("speed",))
    shutil.rmtree(study / "candidates")
    (study / "candidates").mkdir()
    change(study, candidates=[], pareto=[], best=None, baseline=None, groups=[], membership=[])
    with pytest.raises(UsageError, match="nothing is measured in the study"):
        pick_again(study, minimize=("accuracy",))
