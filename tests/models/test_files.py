"""Which files are the model: nothing that loading reads is left out, nothing else counts."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import UsageError
from paretune.models.containment import check_model
from paretune.models.handle import earlier_digests, folder_digest, open_model
from paretune.runtimes.package import lay_out
from tests.security.hostile import write_genai
from tests.tiny_models import make_tiny_llama

NO_PART = (
    "README.md",
    "LICENSE",
    "LICENSE.txt",
    "NOTICE",
    ".git/objects/ab/cd",
    ".DS_Store",
    ".ipynb_checkpoints/x.json",
    "Thumbs.db",
    "notes.txt~",
    ".config.json.swp",
    "x.safetensors.bak",
    "picture.png",
    "USE_POLICY.md",
    "__pycache__/x.pyc",
    "run.log",
    "studies/tone/identity.json",
    "studies/tone/candidates/0001/outcome.json",
    "study/.lock",
    "study/candidates/0001/recipe.json",
    "study/best/config.json",
)
NO_PART_WITHOUT_CODE = (
    "search.yaml",
    "train.py",
    "tone.jsonl",
    "tone.csv",
    "data/tone.json",
    "pytorch_model.bin",
    "optimizer.pt",
    "venv/lib/x.py",
    "checkpoint-10/model.safetensors",
)
PART = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/tool.jinja",
    "qwen.tiktoken",
    "preprocessor_config.json",
    "model.safetensors.index.json",
    "unheard-of.bpe",
    "license.json",
)


def write(folder: Path, name: str, text: str = "x") -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_tiny_llama(tmp_path / "model")


def test_what_people_leave_in_a_models_folder_does_not_make_it_another(model: Path) -> None:
    before = open_model(model).digest
    assert before == folder_digest(model)  # as it was before anything else lay there
    for name in (*NO_PART, *NO_PART_WITHOUT_CODE):
        write(model, name)
        assert open_model(model).digest == before, name
    for place in ("objects", "actions", "locks", "staging"):
        write(model, f"store/{place}/x.json")
    write(model, "olive.json", json.dumps({"input_model": {"type": "HfModel"}, "passes": {}}))
    assert open_model(model).digest == before


@pytest.mark.parametrize("name", PART)
def test_whatever_loading_reads_counts(model: Path, name: str) -> None:
    before = open_model(model)
    if name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        write(model, name, (model / name).read_text() + " ")
    elif name == "model.safetensors":
        with open(model / name, "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\x7f")
    elif name == "model.safetensors.index.json":
        write(model, name, json.dumps({"weight_map": {"w": "model.safetensors"}}))
    else:
        write(model, name)
    assert open_model(model).digest != before.digest


def test_with_code_of_its_own_everything_may_be_read(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling.Model"}
    write(model, "config.json", json.dumps(config))
    seen = {open_model(model).digest}
    for name in ("modeling.py", "helpers/words.py", "helpers/table.yaml", "data.csv"):
        write(model, name)
        digest = open_model(model).digest
        assert digest not in seen, name
        seen.add(digest)
    for name in NO_PART:
        write(model, name)
    assert open_model(model).digest == digest


def test_the_key_that_names_code_is_found_however_it_is_written(model: Path) -> None:
    text = (model / "config.json").read_text().replace("{", '{"auto\\u005fmap": {}, ', 1)
    write(model, "config.json", text)
    before = open_model(model).digest
    write(model, "modeling.py")
    assert open_model(model).digest != before


def test_what_the_model_names_counts_whatever_it_is_called(tmp_path: Path) -> None:
    folder = write_genai(tmp_path / "model", filename="README.onnx")
    shutil.copyfile(folder / "model.onnx", folder / "README.onnx") if (
        folder / "model.onnx"
    ).is_file() else write(folder, "README.onnx", "")
    before = open_model(folder).digest
    write(folder, "notes.md")
    assert open_model(folder).digest == before
    write(folder, "tokenizer_config.json", json.dumps({"tiktoken_file": "notes.md"}))
    with_it = open_model(folder).digest
    write(folder, "notes.md", "other")
    assert len({before, with_it, open_model(folder).digest}) == 3


def test_a_package_of_the_input_holds_the_model_alone(model: Path, tmp_path: Path) -> None:
    wanted = {path.name for path in model.iterdir()}
    for name in NO_PART:
        write(model, name)
    package = lay_out(open_model(model), RuntimeSettings(), tmp_path / "out", link=True)
    assert {path.name for path in package.path.iterdir()} == wanted


def test_the_digest_of_an_earlier_version_is_known_again(model: Path) -> None:
    write(model, "README.md")
    then = folder_digest(model)  # every file counted
    assert then != open_model(model).digest
    assert then in earlier_digests(model)
    write(model, "studies/tone/candidates/0001/outcome.json")
    write(model, "studies/tone/identity.json")
    assert then in earlier_digests(model)
    write(model, "tokenizer.json", "{}")
    assert then not in earlier_digests(model)


def snapshot(model: Path, hub: Path) -> Path:
    """Lay a model out as the hub's tools do: links into ``blobs``."""
    place, blobs = (
        hub / "models--acme--tiny" / "snapshots" / "0123abcd",
        hub / "models--acme--tiny/blobs",
    )
    place.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(model.iterdir())):
        shutil.copyfile(file, blobs / str(number))
        (place / file.name).symlink_to(Path("../../blobs", str(number)))
    return place


def test_a_snapshot_in_the_hubs_cache_is_the_same_model(model: Path, tmp_path: Path) -> None:
    place = snapshot(model, tmp_path / "hub")
    assert open_model(place).digest == open_model(model).digest
    package = lay_out(open_model(place), RuntimeSettings(), tmp_path / "out", link=True)
    assert not any(path.is_symlink() for path in package.path.iterdir())
    check_model(package.path)


@pytest.mark.parametrize(
    "to", ["../../../secret", "../../refs/main", "../../blobs/gone", "../../blobs/../../secret"]
)
def test_a_snapshot_may_link_into_its_own_blobs_only(model: Path, tmp_path: Path, to: str) -> None:
    place = snapshot(model, tmp_path / "hub")
    write(tmp_path / "hub", "secret")
    write(tmp_path / "hub/models--acme--tiny", "refs/main")
    (place / "vocab.txt").symlink_to(to)
    with pytest.raises(UsageError, match="leads out of its model's folder") as refused:
        open_model(place)
    assert f"cp -rL {place} {place}-plain" in str(refused.value)


def test_another_folder_of_links_is_refused_with_the_command(model: Path, tmp_path: Path) -> None:
    place = snapshot(model, tmp_path / "hub")
    moved = place.rename(tmp_path / "hub" / "plain links")
    for link in moved.iterdir():
        target = link.readlink().name
        link.unlink()
        link.symlink_to(f"../models--acme--tiny/blobs/{target}")
    with pytest.raises(UsageError, match=r"cp -rL '.*plain links' '.*plain links-plain'"):
        open_model(moved)
