"""An MLflow folder is the model that it was made from, and what is none is refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paretune.config.model_source import find_model, given_model
from paretune.core.errors import UsageError
from paretune.core.jsontools import read_json
from paretune.core.model import Model, ModelKind
from paretune.models.adapter_input import base_of
from paretune.models.handle import detect_kind, open_model
from paretune.passes.lora.lora import Lora
from tests.mlflow_folders import OWN, azures_form, own_form, with_adapter, write_mlmodel
from tests.pass_bench import Bench, FakeCatalog, tone_data

Form = Callable[..., Path]
BOTH = pytest.mark.parametrize("form", [own_form, azures_form])


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARETUNE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture(scope="module")
def trained(tiny: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the tiny model."""
    bench = Bench(tmp_path_factory.mktemp("trained"), FakeCatalog({"t": tone_data()}))
    params = {"train": "t", "r": 2, "max_steps": 3, "learning_rate": 0.05}
    return bench.run(Lora(), tiny, params, "adapter")


def logits(folder: Path, adapter: Path | None = None) -> Any:
    """Return what a model computes of a text, by its own tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from paretune.models.adapted import load_adapted

    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    if adapter is not None:
        network = load_adapted(network, adapter).eval()
    text = AutoTokenizer.from_pretrained(folder)("what a lovely day", return_tensors="pt")
    with torch.no_grad():
        return network(text["input_ids"]).logits


@BOTH
def test_it_is_the_model_that_it_was_made_from(form: Form, tiny: Model, tmp_path: Path) -> None:
    import torch

    folder = form(tiny.path, tmp_path / "saved model")
    found = find_model("saved model", tmp_path)
    assert found.name == "saved model"
    assert detect_kind(found) == ModelKind.HF
    assert open_model(found).digest == tiny.digest
    assert torch.equal(logits(found), logits(tiny.path))
    assert given_model(folder) == found, "put together once"
    assert not any(path.is_symlink() for path in found.rglob("*"))


def test_an_adapter_is_used_with_the_base_beside_it(
    tiny: Model, trained: Path, tmp_path: Path
) -> None:
    import torch

    settings = json.loads((trained / "adapter_config.json").read_text())
    elsewhere = {"base_model_name_or_path": "some-org/some-model", "revision": "abc"}
    folder = with_adapter(tiny.path, trained, tmp_path / "saved")
    (folder / "peft" / "adapter_config.json").write_text(json.dumps(settings | elsewhere))
    found = given_model(folder)
    assert detect_kind(found) == ModelKind.HF_ADAPTER
    base = base_of(found, tmp_path)
    opened = open_model(found, base)
    assert opened.base is not None
    assert opened.base.digest == tiny.digest
    assert torch.equal(logits(base, found), logits(tiny.path, trained))
    assert not torch.equal(logits(base, found), logits(tiny.path))
    assert given_model(folder) == found
    assert read_json(folder / "peft" / "adapter_config.json") == settings | elsewhere


def test_an_adapter_without_its_base_needs_it_as_any_does(trained: Path, tmp_path: Path) -> None:
    flavor = {k: v for k, v in OWN.items() if k != "model_binary"}
    more = {"peft_adaptor": "peft", "source_model_revision": "abc"}
    folder = write_mlmodel(tmp_path / "saved", transformers={**flavor, **more})
    shutil.copytree(trained, folder / "peft")
    assert given_model(folder) == folder / "peft"


@BOTH
def test_another_file_is_another_model(form: Form, tiny: Model, tmp_path: Path) -> None:
    folder = form(tiny.path, tmp_path / "saved")
    before = given_model(folder)
    (file,) = folder.rglob("generation_config.json")
    file.write_text(json.dumps(read_json(file) | {"top_k": 7}))
    after = given_model(folder)
    assert open_model(after).digest != open_model(before).digest
    assert read_json(after / "generation_config.json")["top_k"] == 7
    (after / "tokenizer.json").unlink()  # the store was cleaned
    assert given_model(folder) == after
    assert (after / "tokenizer.json").is_file()


def test_the_tokenizers_folder_has_the_tokenizer(tiny: Model, tmp_path: Path) -> None:
    folder = own_form(tiny.path, tmp_path / "saved")
    (folder / "model" / "tokenizer_config.json").write_text("{}")
    (folder / "components" / "tokenizer" / "config.json").write_text("{}")
    assert open_model(given_model(folder)).digest == tiny.digest


def test_azures_configuration_takes_precedence(tiny: Model, tmp_path: Path) -> None:
    folder = azures_form(tiny.path, tmp_path / "saved")
    (folder / "data" / "model" / "config.json").write_text("{}")
    assert open_model(given_model(folder)).digest == tiny.digest


def test_a_folder_of_before_mlflow_2_4(tiny: Model, tmp_path: Path) -> None:
    folder = own_form(tiny.path, tmp_path / "saved")
    (folder / "model").rename(folder / "pipeline")
    write_mlmodel(folder, transformers={k: v for k, v in OWN.items() if k != "model_binary"})
    assert open_model(given_model(folder)).digest == tiny.digest


def test_licences_go_with_it(tiny: Model, tmp_path: Path) -> None:
    folder = own_form(tiny.path, tmp_path / "saved")
    (folder / "LICENSE.txt").write_text("of the folder")
    (folder / "model" / "LICENSE.txt").write_text("of the model")
    found = given_model(folder)
    told = {path.read_text() for path in found.glob("LICENSE*")}
    assert told == {"of the folder", "of the model"}
    assert open_model(found).digest == tiny.digest


def test_code_of_the_folder_comes_along_only_where_the_model_names_it(
    tiny: Model, tmp_path: Path
) -> None:
    folder = own_form(tiny.path, tmp_path / "saved", code="code")
    (folder / "code").mkdir()
    (folder / "code" / "modeling_own.py").write_text("raise SystemExit('it ran')")
    assert not list(given_model(folder).glob("*.py"))
    file = folder / "model" / "config.json"
    named = {"auto_map": {"AutoModelForCausalLM": "modeling_own.Own"}}
    file.write_text(json.dumps(read_json(file) | named))
    assert [path.name for path in given_model(folder).glob("*.py")] == ["modeling_own.py"]


def test_what_mlflow_writes_for_itself_is_no_configuration(tiny: Model, tmp_path: Path) -> None:
    folder = own_form(tiny.path, tmp_path / "saved")
    file = folder / "MLmodel"
    file.write_text(
        file.read_text() + "utc_time_created: 2024-05-01 10:00:00\nmore: {0: a, 1: b}\n"
    )
    assert open_model(given_model(folder)).digest == tiny.digest


def refused(folder: Path) -> str:
    with pytest.raises(UsageError) as error:
        find_model(str(folder), folder.parent)
    return str(error.value)


@pytest.mark.parametrize(
    ("flavors", "files", "parts"),
    [
        ({}, (), ["expected the flavor transformers or hftransformersv2", "python_function"]),
        (
            {"pytorch": {"model_data": "data", "pytorch_version": "2.2.0"}},
            ("data/model.pth", "data/pickle_module_info.txt"),
            ["found: python_function, pytorch", "data/model.pth is a pickle", "save_pretrained"],
        ),
        ({"sklearn": {"pickled_model": "model.pkl"}}, ("model.pkl",), ["model.pkl is a pickle"]),
        ({"transformers": "model"}, (), ["flavors.transformers: expected keys, found 'model'"]),
        (
            {"transformers": {**OWN, "task": "text-classification"}},
            (),
            ["the task is 'text-classification'", "generate text"],
        ),
        (
            {
                "transformers": {
                    **{k: v for k, v in OWN.items() if k != "model_binary"},
                    "source_model_revision": "abc",
                }
            },
            (),
            ["no weights in the folder", "'some-org/some-model'", "'abc'", "--allow-network"],
        ),
        ({"transformers": OWN}, (), ["model_binary names 'model', and there is no such file"]),
        (
            {"transformers": {**OWN, "model_binary": "../model"}},
            (),
            ["model_binary names '../model'", "in the model's folder"],
        ),
        (
            {"transformers": {**OWN, "model_binary": ["model"]}},
            (),
            ["model_binary names ['model'], expected"],
        ),
        (
            {"transformers": {**OWN, "model_binary": "MLmodel"}},
            (),
            ["model_binary names 'MLmodel', which is a file, expected a folder"],
        ),
        (
            {"transformers": OWN},
            ("model/config.json", "model/pytorch_model.bin"),
            ["expected safetensors in", "only pickled ones (pytorch_model.bin)", "Convert it once"],
        ),
        (
            {"transformers": OWN},
            ("model/model.pth",),
            ["only pickled ones (model.pth)", "torch.load('model.pth'"],
        ),
        (
            {"transformers": {**OWN, "peft_adaptor": "peft"}},
            ("model/model.safetensors", "model/config.json", "peft/adapter_model.bin"),
            ["expected weights in adapter_model.safetensors", "adapter_model.bin"],
        ),
        (
            {"hftransformersv2": {"model_data": "/data", "task_type": "text-generation"}},
            (),
            ["model_data names '/data', expected a file in the model's folder"],
        ),
        (
            {"hftransformersv2": {"task_type": "text-generation"}},
            ("data/model/model.safetensors", "data/tokenizer/tokenizer.json"),
            ["no config.json in"],
        ),
    ],
)
def test_what_is_no_such_model_is_refused_with_what_to_do(
    tmp_path: Path, flavors: dict[str, Any], files: tuple[str, ...], parts: list[str]
) -> None:
    folder = write_mlmodel(tmp_path / "saved", **flavors)
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    told = refused(folder)
    for part in parts:
        assert part in told, told


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("flavors: [", "not YAML"),
        ("", "expected flavors"),
        ("flavors: {transformers: !!python/object/apply:os.system [touch ran]}", "does not fit"),
        ("flavors: !!python/name:os.system x", "does not fit"),
        (
            "a: &a [1, 1, 1, 1]\n" + "".join(f"a{i}: [*a, *a]\n" for i in range(3)),
            "expected flavors",
        ),
        ("x: " + "[" * 60 + "]" * 60, "nested more than"),
    ],
)
def test_mlmodel_is_data(tmp_path: Path, text: str, part: str) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "MLmodel").write_text(text)
    assert part in refused(folder)
    assert not (tmp_path / "ran").exists()


def test_a_link_out_of_the_folder_is_refused(tiny: Model, tmp_path: Path) -> None:
    folder = own_form(tiny.path, tmp_path / "saved")
    outside = tmp_path / "outside.json"
    (folder / "model" / "generation_config.json").rename(outside)
    os.symlink(outside, folder / "model" / "generation_config.json")
    assert "leads out" in refused(folder)
    (folder / "model" / "generation_config.json").unlink()
    shutil.move(folder / "components" / "tokenizer", tmp_path / "tokenizer")
    os.symlink(tmp_path / "tokenizer", folder / "components" / "tokenizer")
    assert "leads out" in refused(folder)


def test_a_pickle_is_refused_with_how_to_convert_it(tiny: Model, tmp_path: Path) -> None:
    file = tmp_path / "my.pth"
    file.write_bytes(b"x")
    told = refused(file)
    assert "is a pickle" in told
    assert "torch.load('my.pth', weights_only=False).save_pretrained('OUT')" in told
    (tmp_path / "only").mkdir()
    shutil.copyfile(file, tmp_path / "only" / "model.pth")
    assert "found pickled weights (model.pth)" in refused(tmp_path / "only")
    beside = shutil.copytree(tiny.path, tmp_path / "beside")
    (beside / "model.safetensors").unlink()
    shutil.copyfile(file, beside / "model.pth")
    with pytest.raises(UsageError) as error:
        open_model(beside)
    assert "torch.load('model.pth'" in str(error.value.hint)


@pytest.mark.parametrize("name", ["runs:/81da/model", "models:/mine/1"])
def test_an_address_of_mlflow_is_fetched_by_its_user(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="address of MLflow") as error:
        find_model(name, tmp_path)
    assert f"mlflow artifacts download -u {name}" in str(error.value.hint)


def test_a_folder_of_a_known_kind_stays_what_it_is(tiny: Model, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny.path, tmp_path / "model")
    write_mlmodel(folder, transformers=OWN)
    assert given_model(folder) == folder


def test_the_folder_above_is_told_which_one_it_is(tiny: Model, tmp_path: Path) -> None:
    folder = azures_form(tiny.path, tmp_path / "fetched" / "mlflow_model_folder")
    assert f"Name that one: {folder}" in refused(tmp_path / "fetched")


def test_no_folder_for_it_is_no_bug(
    tiny: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own_form(tiny.path, tmp_path / "saved")
    monkeypatch.delenv("PARETUNE_STORE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "relative")
    assert "no folder for artifacts" in refused(folder)
