import json
import struct
from pathlib import Path

import pytest

from paretune.core.errors import UsageError
from paretune.core.model import ModelKind
from paretune.models.handle import detect_kind, folder_digest, inspect, open_model


def write_safetensors(path: Path, shapes: dict[str, list[int]]) -> None:
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = {
        "model_type": "llama",
        "hidden_size": 64,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "vocab_size": 10,
        "tie_word_embeddings": True,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    write_safetensors(
        tmp_path / "model.safetensors",
        {"model.layers.0.self_attn.q_proj.weight": [64, 64], "model.norm.weight": [64]},
    )
    return tmp_path


def test_inspect_reads_headers_only(folder: Path) -> None:
    info = inspect(folder)
    assert (info.kind, info.model_type, info.head_dim) == (ModelKind.HF, "llama", 16)
    assert info.parameters == 64 * 64 + 64
    assert info.modules == {"q_proj"}
    assert info.tied
    assert not info.chat_template


def test_weights_that_are_there_twice_count_once(folder: Path) -> None:
    before = inspect(folder)
    shapes = {"layers.0.attention.wq.weight": [64, 64], "norm.weight": [64]}
    write_safetensors(folder / "consolidated.safetensors", shapes)
    assert inspect(folder).parameters == before.parameters
    (folder / "model.safetensors").unlink()
    for part in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        write_safetensors(folder / part, {f"{part}.q_proj.weight": [8, 8]})
    assert inspect(folder).parameters == 2 * 64


def test_heads_of_keys_and_values(folder: Path) -> None:
    assert inspect(folder).kv_heads == 4
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_key_value_heads": 2}))
    assert inspect(folder).kv_heads == 2


def test_a_digest_is_of_names_and_contents(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    copy = tmp_path_factory.mktemp("copy")
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert folder_digest(copy) == folder_digest(folder) == open_model(folder).digest
    (copy / "config.json").rename(copy / "other.json")
    assert folder_digest(copy) != folder_digest(folder)


def test_a_link_that_leads_out_is_refused(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret"
    outside.write_text("x")
    (folder / "link").symlink_to(outside)
    with pytest.raises(UsageError, match="leads out of"):
        folder_digest(folder)


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"only pickled ones \(pytorch_model.bin\)"):
        open_model(folder)


@pytest.mark.parametrize("made", [False, True])
def test_no_model(tmp_path: Path, made: bool) -> None:
    place = tmp_path / "m"
    if made:
        place.mkdir()
    with pytest.raises(UsageError, match=r"no such folder|no config\.json"):
        detect_kind(place)


def test_a_false_header_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    with pytest.raises(UsageError, match="not a safetensors file"):
        inspect(folder)
