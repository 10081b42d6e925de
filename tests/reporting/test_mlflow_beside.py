"""`--mlflow` writes the pick as an MLflow folder, or says why not before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import paretune
from fake_study import search, write_fake_study

from paretune.api import optimize
from paretune.config import load
from paretune.config.model_source import given_model
from paretune.core.errors import UsageError
from paretune.core.jsontools import read_json
from paretune.core.model import Model
from paretune.models.handle import open_model
from paretune.preflight.mlflow_form import check_picks
from paretune.reporting.mlflow_beside import keep_beside
from paretune.reporting.picking import pick_again, render


@pytest.fixture(autouse=True)
def default_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARETUNE_STORE", str(tmp_path / "default"))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Three candidates; their models are Hugging Face folders."""
    return search(write_fake_study(tmp_path, {"x": [1, 2], "quality": 0.8})).study


def test_a_pick_is_written_beside_its_package(study: Path, tmp_path: Path) -> None:
    picked = pick_again(study, out=tmp_path / "out", store=tmp_path / "store", mlflow=True)
    assert picked["mlflow"] == str(tmp_path / "out-mlflow")
    assert f"mlflow:  {picked['mlflow']}" in render(picked)
    there = given_model(tmp_path / "out-mlflow")
    assert open_model(there).digest == open_model(tmp_path / "out").digest
    said = yaml.safe_load((tmp_path / "out-mlflow" / "MLmodel").read_text())
    rows = read_json(study / "results.json")["candidates"]
    artifact = next(row["artifact"] for row in rows if row["id"] == picked["best"])
    assert said["metadata"] == {"paretune": {"artifact": artifact}}
    assert said["flavors"]["transformers"]["source_model_name"] == "model"


def test_without_the_switch_there_is_none(study: Path, tmp_path: Path) -> None:
    picked = pick_again(study, out=tmp_path / "out", store=tmp_path / "store")
    assert picked["mlflow"] is None
    assert not (tmp_path / "out-mlflow").exists()


def test_it_needs_a_free_place_beside_a_package(study: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="beside the package"):
        pick_again(study, mlflow=True)
    (tmp_path / "out-mlflow").mkdir()
    (tmp_path / "out-mlflow" / "mine").write_text("x")
    with pytest.raises(UsageError, match="out-mlflow' is not empty"):
        pick_again(study, out=tmp_path / "out", store=tmp_path / "store", mlflow=True)
    assert not (tmp_path / "out").exists()


def test_that_of_an_earlier_pick_does_not_stay(study: Path, tmp_path: Path) -> None:
    def keep(results: Any, wanted: bool) -> Path | None:
        return keep_beside(study / "best", study, results, "m", wanted=wanted)

    results = read_json(study / "results.json")
    written = keep(results, wanted=True)
    assert written == study / "best-mlflow"
    assert keep(results, wanted=False) == written
    other = {**results, "candidates": [{**c, "artifact": "x"} for c in results["candidates"]]}
    assert keep(other, wanted=False) is None
    assert not written.exists()
    written.mkdir()
    (written / "MLmodel").write_text("flavors: {}")
    assert keep(results, wanted=False) is None
    assert written.is_dir(), "none of ours"


def config(folder: Path, model: Path, passes: list[Any], **more: Any) -> Path:
    file = folder / "c.yaml"
    rows = "".join(f'{{"t": "text {i}", "y": "{"ab"[i % 2]}"}}\n' for i in range(12))
    (folder / "d.jsonl").write_text(rows)
    said = {
        "model": str(model),
        "data": {"d": {"file": "d.jsonl", "prompt": "{t}", "answer": "{y}"}},
        "passes": passes,
        "evaluate": ["footprint"],
        "target": {"providers": ["cpu"], "threads": [1]},
        "objectives": {"minimize": "size_mb"},
        "search": {"strategy": "exhaustive"},
        **more,
    }
    file.write_text(yaml.safe_dump(said))
    return file


TRAIN = {"lora": {"train": "d", "r": 2}}


@pytest.mark.parametrize(
    ("passes", "more"),
    [
        ([TRAIN, "merge", {"genai": {"precision": "int4"}}], {}),
        ([TRAIN, "merge", {"genai": {"precision": "int4"}, "optional": True}], {}),
        ([TRAIN, "merge"], {"baseline": [{"genai": {"precision": "fp32"}}]}),
    ],
)
def test_a_pick_without_that_form_is_refused_before_anything_runs(
    tiny: Model, tmp_path: Path, passes: list[Any], more: dict[str, Any]
) -> None:
    file = config(tmp_path, tiny.path, passes, **more)
    told = "the pick may be of kind genai, which has no MLflow form"
    with pytest.raises(UsageError, match=told) as refused:
        optimize(file, study=tmp_path / "study", mlflow=True)
    assert "pick STUDY --out DIR --mlflow" in str(refused.value.hint)
    assert not (tmp_path / "study").exists()
    for command in (["search", "--dry-run"], ["search"], ["run"]):
        seen = paretune(*command, "c.yaml", "--mlflow", cwd=tmp_path)
        assert seen.returncode == 2, seen.stdout
        assert told in seen.stderr or command == ["run"]


def test_models_of_that_form_are_not_refused(tiny: Model, tmp_path: Path) -> None:
    check_picks(load(config(tmp_path, tiny.path, [TRAIN, "merge"])))
    check_picks(load(config(tmp_path, tiny.path, [])))


def test_a_search_writes_it(tiny: Model, tmp_path: Path) -> None:
    accuracy = [{"classification": {"data": "d"}}]
    best = {"maximize": "accuracy"}
    file = config(tmp_path, tiny.path, [], evaluate=accuracy, objectives=best)
    result = optimize(file, study=tmp_path / "study", store=tmp_path / "store", mlflow=True)
    assert result.mlflow == tmp_path / "study" / "best-mlflow"
    assert open_model(given_model(result.mlflow)).digest == tiny.digest
    again = paretune(
        "search", "c.yaml", "--study", "study", "--store", "store", "--mlflow", cwd=tmp_path
    )
    assert again.returncode == 0, again.stderr
    assert "mlflow:  study/best-mlflow" in again.stdout
