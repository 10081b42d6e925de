"""A study that is looked at after an end in the middle, or whose files went, says what is true."""

import json
import shutil
from pathlib import Path

import pytest
from fake_study import search, write_fake_study

from paretune.api import optimize
from paretune.comparing.subjects import open_entrants
from paretune.config import load
from paretune.core.errors import StateError, UsageError
from paretune.core.jsontools import read_json
from paretune.preflight.dry_run import foresee
from paretune.reporting.opened import open_results, open_study
from paretune.reporting.picking import pick_again
from paretune.reporting.reopened import rewrite_report
from paretune.search.space import Space
from paretune.store.artifacts import Store
from paretune.study.folder import read_outcomes
from paretune.targets.device.fingerprint import device

LIMIT = "accuracy >= baseline - 0.5"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Three candidates of two passes' parameters; the third is the pick."""
    config = write_fake_study(tmp_path, {"x": [1, 2], "quality": 0.8}, constraints=[LIMIT])
    result = search(config)
    assert len(result.results["candidates"]) == 3
    return result.study


def outdate(study: Path) -> None:
    """Leave ``results.json`` as it is after the first candidate, with the search killed later."""
    file = study / "results.json"
    content = read_json(file)
    base = content["baseline"]["id"]
    first = [{**row, "pareto": row["id"] == base} for row in content["candidates"]][:1]
    assert first[0]["id"] == base
    file.write_text(
        json.dumps(
            {
                **content,
                "candidates": first,
                "pareto": [base],
                "best": base,
                "status": "running",
                "baseline": None,
                "groups": [],
                "membership": [],
                "near_limits": [],
                "pick": None,
            }
        )
    )


def test_a_document_that_says_what_the_outcomes_say_is_taken_as_it_is(study: Path) -> None:
    results, outcomes = open_study(study)
    assert results == open_results(study)
    assert [outcome.id for outcome in outcomes] == [1, 2, 3]


def test_a_document_that_is_older_than_the_outcomes_is_made_again(study: Path) -> None:
    before = open_results(study)
    outdate(study)
    after, outcomes = open_study(study)
    assert [row.id for row in after.candidates] == [o.id for o in outcomes] == [1, 2, 3]
    assert after.status == "interrupted"
    for key in ("best", "pareto", "baseline", "constraints", "objectives", "versions", "device"):
        assert getattr(after, key) == getattr(before, key), key
    file = study / "results.json"
    changed = read_json(file)
    changed["candidates"] = before.to_json()["candidates"]
    changed["candidates"][1]["metrics"]["accuracy"]["value"] = 0.123  # of before the finals
    file.write_text(json.dumps(changed))
    assert open_study(study)[0].candidates[1].metrics["accuracy"].value == 0.8


def test_what_looks_at_it_goes_by_the_outcomes(study: Path, tmp_path: Path) -> None:
    best = open_results(study).best
    outdate(study)
    picked = pick_again(study, LIMIT, out=tmp_path / "out", store=tmp_path / "store")
    assert picked["best"] == best
    assert (tmp_path / "out" / "model_card.md").is_file()
    rewrite_report(study)
    assert len((study / "results.csv").read_text().splitlines()) == 4
    (subject, _) = open_entrants([str(study)] * 2, device("local", None), store=tmp_path / "store")
    assert subject.outcome is not None
    assert subject.outcome.id == best


def test_a_study_without_its_document_is_no_other_folder(study: Path, tmp_path: Path) -> None:
    (study / "results.json").unlink()
    with pytest.raises(StateError, match=r"has outcomes but no results\.json"):
        open_study(study)
    with pytest.raises(UsageError, match="is not a study"):
        open_study(tmp_path / "model")


def test_outcomes_of_nobody_knows_what_are_refused(study: Path, tmp_path: Path) -> None:
    (study / "identity.json").unlink()
    for again in (
        lambda: search(tmp_path / "fake.yaml"),
        lambda: foresee(tmp_path / "fake.yaml", study=study, store=tmp_path / "store"),
    ):
        with pytest.raises(StateError, match=r"identity\.json is missing") as refused:
            again()
        assert "3 outcomes" in str(refused.value)
    assert len(read_outcomes(study)) == 3


def test_a_copied_candidate_is_not_counted_twice(study: Path) -> None:
    shutil.copytree(study / "candidates" / "0002", study / "candidates" / "0009")
    with pytest.raises(StateError, match="outcome of candidate 2, of another folder"):
        read_outcomes(study)


def test_metrics_whose_samples_went_keep_their_values(study: Path) -> None:
    (before,) = (o for o in read_outcomes(study) if o.id == 2)
    file = study / "candidates" / "0002" / "measurements.json"
    raw = read_json(file)
    for content in ({}, {name: raw[name] for name in list(raw)[:1]}):
        file.write_text(json.dumps(content))
        (after,) = (o for o in read_outcomes(study) if o.id == 2)
        assert after.to_json() == before.to_json()


def test_the_same_search_builds_the_pick_again_where_the_store_lost_it(
    study: Path, tmp_path: Path
) -> None:
    best = open_results(study).best
    for gone in (tmp_path / "store", study / "best"):
        shutil.rmtree(gone)
    result = search(tmp_path / "fake.yaml")
    assert result.results["best"] == best
    assert result.best is not None
    assert (result.best / "recipe.yaml").is_file()


def test_what_builds_a_lost_candidate_again_is_written_and_named(
    study: Path, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "store")
    recipe = study / "candidates" / "0002" / "recipe.yaml"
    with pytest.raises(StateError, match="paretune run") as missing:
        open_entrants([f"{study}#2", str(study)], device("local", None), store=tmp_path / "store")
    assert str(recipe) in str(missing.value)
    plan = load(recipe, single=True)
    assert isinstance(plan.space, Space)
    built = read_outcomes(study)[1].candidate
    assert plan.space.at(0).recipe == built.recipe
    with pytest.raises(StateError, match=r"candidates/000\d/recipe\.yaml"):
        pick_again(study, out=tmp_path / "out", store=tmp_path / "store")
    assert not (tmp_path / "out").exists()


def test_a_package_of_an_earlier_pick_does_not_stay(study: Path, tmp_path: Path) -> None:
    assert (study / "best").is_dir()
    file = tmp_path / "fake.yaml"
    file.write_text(file.read_text().replace(LIMIT, "decode_ms_p50 <= 0.001"))
    result = search(file)
    assert result.best is None
    assert not (study / "best").exists()


def test_folders_of_others_are_no_artifacts(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    (tmp_path / "store" / "objects" / "mine").mkdir()
    assert store.objects() == []


@pytest.mark.parametrize("what", ["study", "store"])
def test_the_models_own_folder_is_no_study_and_no_store(tmp_path: Path, what: str) -> None:
    config = write_fake_study(tmp_path, {"x": [1]})
    before = sorted((tmp_path / "model").iterdir())
    (tmp_path / "link").symlink_to(tmp_path / "model")
    places = {"study": tmp_path / "s", "store": tmp_path / "t", what: tmp_path / "link"}
    with pytest.raises(UsageError, match=f"the {what} .* is the model's own folder"):
        optimize(config, **places)
    with pytest.raises(UsageError, match=f"the {what} .* is the model's own folder"):
        foresee(config, **places)
    assert sorted((tmp_path / "model").iterdir()) == before
