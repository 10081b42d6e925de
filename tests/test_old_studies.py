"""Studies of schema 1 stay readable: their outcomes, their results, their report, another pick."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from paretune.core.errors import StateError
from paretune.core.jsontools import read_json
from paretune.core.result import SCHEMA, OutcomeKind
from paretune.reporting.picking import pick_again
from paretune.reporting.reopened import rewrite_report
from paretune.study.folder import Study, read_outcomes
from paretune.study.results import read_results

FIXTURES = Path(__file__).resolve().parent / "fixtures"


@pytest.fixture(params=["tone-schema-1", "ends-schema-1"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURES / request.param, tmp_path / request.param))


def test_outcomes_and_raw_samples_are_read(old: Path) -> None:
    outcomes = read_outcomes(old)
    results = read_results(old / "results.json")
    assert [o.id for o in outcomes] == [row.id for row in results.candidates]
    for outcome, row in zip(outcomes, results.candidates, strict=True):
        assert outcome.kind.value == row.outcome
        assert {n: m.value for n, m in (outcome.measurements or {}).items()} == {
            n: m.value for n, m in row.metrics.items()
        }


def test_every_end_is_there() -> None:
    kinds = Counter(o.kind for o in read_outcomes(FIXTURES / "ends-schema-1"))
    assert set(kinds) == set(OutcomeKind) - {OutcomeKind.INVALID, OutcomeKind.PRUNED}


def test_raw_samples_of_the_real_study_carry_their_statistics() -> None:
    measured = read_outcomes(FIXTURES / "tone-schema-1")[0].measurements
    assert measured is not None
    accuracy = measured["accuracy"]
    assert accuracy.n == len(accuracy.samples) == 222
    assert accuracy.value == pytest.approx(sum(accuracy.samples) / accuracy.n)


def test_the_report_is_written_again_and_another_pick_made(old: Path) -> None:
    page = rewrite_report(old).read_text()
    assert "plotly" in page
    picked = pick_again(old, "accuracy >= 0.5", ["decode_ms_p50"], [])
    assert picked["best"] is not None


def test_an_opened_study_goes_on_counting(old: Path) -> None:
    study = Study(old)
    assert study.next_id() == max(o.id for o in study.outcomes) + 1
    assert study.spent() > 0
    study.close()


def test_an_outcome_of_a_later_schema_is_refused_not_misread(old: Path) -> None:
    file = old / "candidates" / "0002" / "outcome.json"
    file.write_text(json.dumps({**read_json(file), "schema": SCHEMA + 1}))
    with pytest.raises(StateError, match=f"schema {SCHEMA + 1}, of a later version"):
        read_outcomes(old)
