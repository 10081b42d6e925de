"""Whatever stands in ``MLmodel`` or in a conda file: an answer, or a UsageError."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.config.model_source import given_model
from paretune.config.olive.conda import read_conda
from paretune.core.errors import UsageError
from paretune.models.handle import open_model
from tests.mlflow_folders import AZURE, OWN, own_form
from tests.security.fuzzing import fuzz, json_values, mutated
from tests.security.hostile import write_hugging_face

MLMODEL = {"flavors": {"transformers": OWN, "hftransformersv2": AZURE}, "run_id": "x"}
CONDA = {
    "name": "x",
    "channels": ["defaults"],
    "dependencies": [
        "python=3.8",
        "numpy=1.26=py_0",
        "scipy >=1.2,<2",
        {"pip": ["torch>=2", "-r none.txt", "--pre", "git+https://x.org/a@b#egg=a[x]", "-e ."]},
        {"sel(win)": "pywin32"},
    ],
    "variables": {"A": "b"},
}
WORDS = (
    "model",
    "model_binary",
    "peft_adaptor",
    "code",
    "../x",
    "/",
    "flavors",
    "transformers",
    "hftransformersv2",
    "pytorch",
    "task",
    "text-generation",
    "source_model_revision",
    "dependencies",
    "pip",
    "sel(linux)",
    "::",
    "numpy[version='1']",
    "a=1=2=3",
    "-r",
    "-c x",
    "--extra-index-url",
    "git+",
    "https://",
    "x @ y",
    "name",
)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARETUNE_STORE", str(tmp_path / "store"))


def saved(folder: Path) -> Path:
    place = folder / "saved"
    return place if place.exists() else own_form(write_hugging_face(folder / "model"), place)


@fuzz(120)
@given(json_values(WORDS) | mutated(MLMODEL, WORDS))
def test_any_mlmodel(tmp_path: Path, value: Any) -> None:
    folder = saved(tmp_path)
    (folder / "MLmodel").write_text(json.dumps(value))
    try:
        found = given_model(folder)
    except UsageError:
        return
    assert open_model(found).digest == open_model(tmp_path / "model").digest


@fuzz(60)
@given(st.binary(max_size=60))
def test_any_bytes_as_an_mlmodel(tmp_path: Path, content: bytes) -> None:
    folder = saved(tmp_path)
    (folder / "MLmodel").write_bytes(content)
    with pytest.raises(UsageError):
        given_model(folder)


@fuzz(120)
@given(mutated(CONDA, WORDS))
def test_any_conda_file(tmp_path: Path, value: Any) -> None:
    file = tmp_path / "conda.yaml"
    file.write_text(json.dumps(value))
    try:
        found = read_conda(file)
    except UsageError:
        return
    if found is not None:
        assert all("\n" not in text for text in found.requirements)


@fuzz(120)
@given(st.text(max_size=40))
def test_any_line_of_pip(tmp_path: Path, text: str) -> None:
    file = tmp_path / "conda.yaml"
    file.write_text(json.dumps({"dependencies": [{"pip": [text]}]}))
    try:
        read_conda(file)
    except UsageError:
        return
