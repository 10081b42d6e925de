"""Whole Olive configurations of the project's own: what imports, what is named as unsupported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paretune.config import load
from paretune.search.space import PassSlot
from tests.config.olive.olive_files import OWN, refused, whole
from tests.config.olive.vocabulary import unknown_names
from tests.tiny_models import make_tiny_phi3

FILES = {file.stem: file for file in OWN}

UNSUPPORTED: dict[str, list[str]] = {
    "nested-lora-merge-int4": [],
    "flat-two-precisions": [],
    "nested-azure": [],
    "flat-encoder": [],
}


def read(stem: str) -> Any:
    return json.loads(FILES[stem].read_text())


def test_each_file_has_its_row() -> None:
    assert UNSUPPORTED.keys() == FILES.keys()


@pytest.mark.parametrize("stem", UNSUPPORTED)
def test_what_is_unsupported_is_named_and_nothing_else(stem: str) -> None:
    assert sorted(refused(read(stem))) == sorted(UNSUPPORTED[stem])


def test_the_nested_file_is_translated_key_by_key() -> None:
    found = whole(read("nested-lora-merge-int4"))
    assert unknown_names(found) == []
    assert found["model"] == "models/phi3"
    assert found["data"] == {
        "moods": {
            "file": "moods.json",
            "format": "json",
            "text": "Say: {phrase}\nMood: {tone}",
            "corpus": {"strategy": "join", "max_length": 512, "joiner": ""},
        }
    }
    lora, merge, genai = found["passes"]
    assert (merge, genai) == ("merge", {"genai": {"precision": "int4"}})
    expected = {
        "train": "moods",
        "target_modules": ["qkv_proj", "o_proj"],
        "r": 8,
        "alpha": 16,
        "dropout": 0.05,
        "max_steps": 4,
        "seed": 3,
        "data_seed": 4,
        "gradient_accumulation_steps": 2,
        "learning_rate": 0.0002,
        "eval_dataset_size": 0.25,
        "eval_steps": 50,
        "adam_beta2": 0.99,
        "max_grad_norm": 0.5,
    }
    assert expected.items() <= lora["lora"].items()
    assert found["target"] == {"providers": ["cpu"]}


@pytest.fixture(scope="module")
def phi3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_phi3(tmp_path_factory.mktemp("phi3") / "model")


def placed(stem: str, folder: Path, model: Path) -> Path:
    """Write a file into a folder with its model and its data beside it."""
    rows = [{"phrase": f"phrase number {i}", "tone": ("joy", "fear")[i % 2]} for i in range(64)]
    (folder / "moods.json").write_text(json.dumps(rows))
    (folder / "models").mkdir()
    (folder / "models" / "phi3").symlink_to(model)
    file = folder / "olive.json"
    file.write_text(json.dumps(read(stem)))
    return file


@pytest.mark.parametrize(
    ("stem", "passes"),
    [
        ("nested-lora-merge-int4", ["lora", "merge", "genai"]),
        ("flat-two-precisions", ["qlora", "merge", "genai"]),
    ],
)
def test_what_imports_whole_loads_as_one_recipe(
    tmp_path: Path, phi3: Path, stem: str, passes: list[str]
) -> None:
    plan = load(placed(stem, tmp_path, phi3))
    slots = [stage for stage in plan.space.stages if isinstance(stage, PassSlot)]
    assert [slot.name for slot in slots] == passes
    assert (plan.providers, plan.space.size) == (("cpu",), 1)
    assert plan.space.at(0).recipe == plan.baseline


@pytest.mark.slow
def test_the_nested_file_runs(tmp_path: Path, phi3: Path) -> None:
    from paretune.api import optimize

    folder = tmp_path / "a"
    folder.mkdir()
    found = optimize(placed("nested-lora-merge-int4", folder, phi3), single=True)
    assert found.study == folder / "../work"
    assert found.best == folder / "../work/best"
    (only,) = found.results["candidates"]
    assert (only["outcome"], only["id"]) == ("ok", found.results["baseline"]["id"])
