"""A model that is written as an MLflow folder is the same model when it is read."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from paretune.config.model_source import given_model
from paretune.core.errors import UsageError
from paretune.core.jsontools import read_json
from paretune.core.model import Model, ModelKind
from paretune.models.adapter_input import base_of
from paretune.models.handle import open_model
from paretune.models.mlflow_writing import write_mlflow
from tests.models.test_mlflow import logits, store, trained

__all__ = ["store", "trained"]


def mlmodel(folder: Path) -> dict[str, Any]:
    said: dict[str, Any] = yaml.safe_load((folder / "MLmodel").read_text())
    return said


def test_it_is_read_again_as_the_same_model(tiny: Model, tmp_path: Path) -> None:
    import torch

    write_mlflow(tiny, tmp_path / "out", "my model")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "MLmodel",
        "components",
        "conda.yaml",
        "model",
        "python_env.yaml",
        "requirements.txt",
    ]
    flavors = mlmodel(tmp_path / "out")["flavors"]
    assert flavors["transformers"]["pipeline_model_type"] == "LlamaForCausalLM"
    assert flavors["transformers"]["source_model_name"] == "my model"
    assert flavors["transformers"]["torch_dtype"] == "torch.float32"
    assert flavors["python_function"]["loader_module"] == "mlflow.transformers"
    assert "adapter" not in str(flavors["transformers"])
    found = given_model(tmp_path / "out")
    assert open_model(found).digest == tiny.digest
    assert torch.equal(logits(found), logits(tiny.path))
    assert str(tmp_path) not in (tmp_path / "out" / "MLmodel").read_text()


def test_an_adapter_is_written_with_its_base(tiny: Model, trained: Path, tmp_path: Path) -> None:
    import torch

    write_mlflow(open_model(trained, tiny.path), tmp_path / "out", "adapted")
    assert mlmodel(tmp_path / "out")["flavors"]["transformers"]["peft_adaptor"] == "peft"
    found = given_model(tmp_path / "out")
    base = base_of(found, tmp_path)
    assert open_model(base).digest == tiny.digest
    assert torch.equal(logits(base, found), logits(tiny.path, trained))
    peft = f"peft=={importlib.metadata.version('peft')}"
    assert peft in (tmp_path / "out" / "requirements.txt").read_text().splitlines()


def test_its_environment_is_the_one_that_it_was_measured_in(tiny: Model, tmp_path: Path) -> None:
    write_mlflow(tiny, tmp_path / "out", "m")
    lines = (tmp_path / "out" / "requirements.txt").read_text().splitlines()
    assert lines[0] == "mlflow"
    assert f"transformers=={importlib.metadata.version('transformers')}" in lines
    assert not any("+" in line for line in lines), "an index has no local versions"
    conda = yaml.safe_load((tmp_path / "out" / "conda.yaml").read_text())
    assert conda["dependencies"][-1] == {"pip": lines}
    env = yaml.safe_load((tmp_path / "out" / "python_env.yaml").read_text())
    assert env["dependencies"] == ["-r requirements.txt"]


def test_only_the_models_own_files_are_in_it(tiny: Model, tmp_path: Path) -> None:
    package = shutil.copytree(tiny.path, tmp_path / "best")
    for name in ("sample.py", "recipe.yaml", "model_card.md", "pytorch_model.bin"):
        (package / name).write_text("x")
    (package / "LICENSE").write_text("its licence")
    write_mlflow(open_model(package), tmp_path / "out", "m")
    names = {path.name for path in (tmp_path / "out").rglob("*")}
    assert not names & {"sample.py", "recipe.yaml", "model_card.md", "pytorch_model.bin"}
    assert (tmp_path / "out" / "LICENSE").read_text() == "its licence"
    assert open_model(given_model(tmp_path / "out")).digest == tiny.digest


def test_a_class_that_transformers_may_not_have_is_not_named(tiny: Model, tmp_path: Path) -> None:
    model = shutil.copytree(tiny.path, tmp_path / "model")
    file = model / "config.json"
    for named in (["a.b"], "x", [], None):
        file.write_text(json.dumps(read_json(file) | {"architectures": named}))
        write_mlflow(open_model(model), tmp_path / "out", "m")
        flavor = mlmodel(tmp_path / "out")["flavors"]["transformers"]
        assert flavor["pipeline_model_type"] == "AutoModelForCausalLM"


def test_a_tokenizer_without_a_class_has_the_models_type(tiny: Model, tmp_path: Path) -> None:
    model = shutil.copytree(tiny.path, tmp_path / "model")
    file = model / "tokenizer_config.json"
    said = {k: v for k, v in read_json(file).items() if k != "tokenizer_class"}
    file.write_text(json.dumps(said))
    whole = open_model(model)
    write_mlflow(whole, tmp_path / "out", "m")
    assert (tmp_path / "out" / "components" / "tokenizer" / "config.json").is_file()
    assert open_model(given_model(tmp_path / "out")).digest == whole.digest


def test_what_has_no_such_form_is_refused(tiny: Model, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="kind genai has no MLflow form"):
        write_mlflow(replace(tiny, kind=ModelKind.GENAI), tmp_path / "out", "m")
    model = shutil.copytree(tiny.path, tmp_path / "model")
    file = model / "config.json"
    named = {"auto_map": {"AutoModelForCausalLM": "own.Own"}}
    file.write_text(json.dumps(read_json(file) | named))
    with pytest.raises(UsageError, match="Python code of its own"):
        write_mlflow(open_model(model), tmp_path / "out", "m")
    assert not (tmp_path / "out").exists()
