"""Weights that are not there, not whole, or not what they are said to be."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paretune.config import load
from paretune.core.errors import UsageError
from paretune.models.checks import Finding, check_folder
from tests.models.checks.conftest import put

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def told(folder: Path) -> str:
    return "\n".join(finding.message for finding in check_folder(folder) if finding.fatal)


def rewrite(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a safetensors file's header, and leave its numbers."""
    content = file.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    change(header)
    new = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(new)) + new + content[8 + length :])


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_git_lfs_pointer_is_named_as_such(folder: Path, name: str) -> None:
    (folder / name).write_text(POINTER)
    assert told(folder).startswith(f"{folder / name} is not the file itself, but Git LFS's pointer")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "generation_config.json"])
def test_an_empty_file_is_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    assert told(folder) == f"{folder / name} is empty"


def test_layers_without_weights_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    assert "num_hidden_layers is 4, and the weights have no tensor of layer 2, 3" in told(folder)


def test_a_tensor_of_too_few_numbers_is_refused(folder: Path) -> None:
    def change(header: dict[str, Any]) -> None:
        header["model.norm.weight"]["shape"] = [63]

    rewrite(folder / "model.safetensors", change)
    assert "'model.norm.weight' of shape [63] and dtype F32 has 256 bytes" in told(folder)


@pytest.mark.parametrize(("dtype", "width"), [("I8", 4), ("F8_E4M3", 4), ("I32", 1)])
def test_matrices_of_whole_numbers_are_refused_by_dtype(
    folder: Path, dtype: str, width: int
) -> None:
    def change(header: dict[str, Any]) -> None:
        entry = header["model.layers.0.mlp.up_proj.weight"]
        entry["dtype"] = dtype
        entry["shape"] = [entry["shape"][0], entry["shape"][1] * width]

    rewrite(folder / "model.safetensors", change)
    assert f"model.layers.0.mlp.up_proj.weight has dtype {dtype}" in told(folder)


def test_an_index_that_names_a_tensor_which_its_shard_lacks(folder: Path) -> None:
    shard = "model-00001-of-00001.safetensors"
    (folder / "model.safetensors").rename(folder / shard)
    index = {"weight_map": {"model.norm.weight": shard, "model.layers.0.lost.weight": shard}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert f"'model.layers.0.lost.weight' is listed in {shard}, and is not there" in told(folder)


def test_an_embedding_of_another_size_than_the_configuration_says(
    broken: Callable[..., tuple[Finding, ...]],
) -> None:
    (found,) = broken(config=put(vocab_size=400))
    assert "vocab_size is 400, and the embedding has 320 rows" in found.message


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(file.read_bytes()[:-1000]),
        lambda file: file.write_bytes(file.read_bytes()[:5]),
        lambda file: file.write_bytes(b"\xff" * 64),
        lambda file: file.write_text(POINTER),
        lambda file: file.unlink(),
    ],
    ids=["cut", "header-cut", "noise", "pointer", "gone"],
)
def test_damage_ends_a_configuration_with_2_before_anything_runs(
    folder: Path, damage: Callable[[Path], Any]
) -> None:
    damage(folder / "model.safetensors")
    (folder.parent / "d.jsonl").write_text(
        "".join(json.dumps({"t": f"text {i}", "y": "ab"[i % 2]}) + "\n" for i in range(20))
    )
    (folder.parent / "c.yaml").write_text(
        "model: model\ndata: {d: {file: d.jsonl, prompt: '{t}', answer: '{y}'}}\n"
        "passes: [{genai: {precision: fp32}}]\nevaluate: [{classification: {data: d}}]\n"
        "objectives: {maximize: accuracy}\n"
    )
    with pytest.raises(UsageError, match=r"model\.safetensors") as refused:
        load(folder.parent / "c.yaml")
    assert refused.value.exit_status == 2
