"""A kind of model, a pass and two runtimes of another package go through a whole search."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import paretune
from paretune.config import load
from paretune.core.errors import UsageError
from paretune.core.plugins import forget_installed
from tests.extending_page import write_package
from tests.tiny_models import make_tiny_llama

TOY = Path(__file__).resolve().parent / "plugins" / "toy"
CONFIG = {
    "model": "model",
    "passes": [{"to_factor": {"factor": [1.0, 3.0]}}],
    "baseline": [{"to_factor": {"factor": 2.0}}],
    "evaluate": ["answer"],
    "objectives": {"minimize": "answer"},
    "runtimes": [{"multiply": {"rounding": ["none", "whole"]}}, "twin"],
    "target": {"threads": [1]},
    "search": {"finals": 0},
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the package that the extending page shows."""
    folder = tmp_path_factory.mktemp("page")
    write_package(folder)
    return folder


@pytest.fixture
def model(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a folder with a model, while two other packages are installed: the page's and ours."""
    monkeypatch.syspath_prepend(str(page))
    monkeypatch.syspath_prepend(str(TOY))
    forget_installed()
    make_tiny_llama(tmp_path / "model")
    yield tmp_path
    monkeypatch.undo()
    forget_installed()


def write(folder: Path, **changes: object) -> Path:
    file = folder / "toys.yaml"
    file.write_text(yaml.safe_dump({**CONFIG, **changes}))
    return file


def test_each_runtime_of_the_list_runs_what_it_can_and_its_settings_take_effect(
    model: Path,
) -> None:
    found = paretune.optimize(write(model), study=model / "study", store=model / "store")
    rows = found.results["candidates"]
    assert {row["outcome"] for row in rows} == {"ok"}
    measured = {
        (
            row["recipe"][0]["params"]["factor"],
            row["runtime"]["name"],
            row["runtime"].get("rounding"),
        ): row["metrics"]["answer"]["value"]
        for row in rows
    }
    assert measured == {
        (2.0, "multiply", "none"): 2.8,  # the baseline
        (1.0, "multiply", "none"): 1.4,
        (1.0, "multiply", "whole"): 1.0,
        (1.0, "twin", None): 1.4,
        (3.0, "multiply", "none"): pytest.approx(4.2),
        (3.0, "multiply", "whole"): 4.0,
        (3.0, "twin", None): pytest.approx(4.2),
    }
    assert found.best is not None
    assert (found.best / "settings.json").read_text().count('"rounding": "whole"') == 1
    ran = subprocess.run(
        [sys.executable, "sample.py"], cwd=found.best, capture_output=True, text=True, check=False
    )
    assert ran.stdout.strip() == "1.0"
    recipe = yaml.safe_load((found.best / "recipe.yaml").read_text())
    assert recipe["runtimes"] == [{"multiply": {"rounding": "whole"}}]
    assert "runtime.rounding" in (model / "study" / "results.csv").read_text()
    again = paretune.optimize(write(model), study=model / "study", store=model / "store")
    assert [row["id"] for row in again.results["candidates"]] == [row["id"] for row in rows]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"runtimes": [{"multipli": {}}]}, "no runtime named 'multipli'\n.*multiply"),
        ({"runtimes": [{"multiply": {"rounding": "half"}}]}, "'none' or 'whole', found 'half'"),
        ({"runtimes": [{"multiply": {"round": "none"}}]}, "has no setting 'round'\n.*rounding"),
        ({"runtimes": ["multiply", "multiply"]}, "stands here twice"),
        ({"runtimes": [3]}, "expected a runtime's name"),
        ({"runtimes": ["torch"]}, "which the runtime torch does not run"),
        ({"evaluate": ["answer", {"perplexity": {"data": "t"}}]}, "needs a session that"),
    ],
)
def test_what_is_wrong_with_runtimes_is_said_at_its_key(
    model: Path, changes: dict[str, object], told: str
) -> None:
    if "evaluate" in changes:
        (model / "t.jsonl").write_text('{"text": "a b c"}\n')
        changes = {**changes, "data": {"t": {"file": "t.jsonl", "text": "{text}"}}}
    with pytest.raises(UsageError, match=f"(?s){told}"):
        load(write(model, **changes))


def test_a_pass_for_a_kind_that_is_not_there_is_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toy.ToFactor.produces", "factr")
    told = r"models of kind factr, and there is no such kind\n.*factor"
    with pytest.raises(UsageError, match=told):
        load(write(model))
