"""JSON that came with a model has limits in size and depth, and ends in an error that names it."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paretune.core.errors import UsageError
from paretune.core.jsontools import MAX_DEPTH, canonical, parse_json, read_json, read_model_json
from paretune.models.handle import inspect, open_model
from paretune.models.safetensors_files import safetensors_header
from tests.security.hostile import safetensors, write_genai, write_hugging_face

DEEP = "[" * 200_000
NO_JSON: dict[str, str | bytes] = {
    "nothing": "",
    "half": '{"a": ',
    "deep": DEEP,
    "deep objects": '{"a":' * 100_000,
    "just too deep": "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
    "not UTF-8": b"\xff\xfe{}",
    "a mark": b"\xef\xbb\xbf{}",
    "half a character": '{"a": "\\ud800"}',
    "half a key": '{"\\udfff": 1}',
    "a long number": '{"a": ' + "9" * 5000 + "}",
    "a key twice": '{"a": 1, "b": {"c": 1, "c": 2}}',
}
NO_OBJECT = {"a list": "[]", "a text": '"a"', "null": "null", "a number": "1"}


def model_files(folder: Path) -> dict[str, Callable[[], Any]]:
    """Return each JSON file that is read of a model, with what reads it."""
    hugging_face, genai = write_hugging_face(folder / "hf"), write_genai(folder / "genai")
    (hugging_face / "tokenizer_config.json").write_text("{}")
    return {
        "hf/config.json": lambda: open_model(hugging_face),
        "hf/tokenizer_config.json": lambda: inspect(hugging_face),
        "hf/model.safetensors.index.json": lambda: open_model(hugging_face),
        "genai/genai_config.json": lambda: open_model(genai),
        "genai/tokenizer_config.json": lambda: open_model(genai),
    }


@pytest.mark.parametrize("content", [*NO_JSON, *NO_OBJECT])
def test_a_broken_file_of_a_model_is_named(tmp_path: Path, content: str) -> None:
    files = model_files(tmp_path)
    for name, read in files.items():
        text = {**NO_JSON, **NO_OBJECT}[content]
        before = (tmp_path / name).read_bytes() if (tmp_path / name).exists() else None
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(UsageError, match=rf"{Path(name).name}: (not JSON|expected a JSON)"):
            read()
        os.unlink(tmp_path / name) if before is None else (tmp_path / name).write_bytes(before)


def test_a_file_that_is_too_large_is_refused_unparsed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a": "' + "x" * 100 + '"}')
    assert read_model_json(tmp_path / "config.json", most_bytes=109)
    with pytest.raises(UsageError, match=r"config\.json: larger than 108 bytes"):
        read_model_json(tmp_path / "config.json", most_bytes=108)
    with open(tmp_path / "config.json", "ab") as file:
        file.truncate(1 << 40)  # takes no space on disk
    with pytest.raises(UsageError, match="larger than"):
        inspect(tmp_path)


def test_depth_is_counted_where_a_text_only_looks_deep() -> None:
    assert parse_json(json.dumps("[" * 1000)) == "[" * 1000
    assert len(parse_json("[" + "[]," * 1000 + "[]]")) == 1001
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)


@pytest.mark.parametrize("content", [c for c in NO_JSON.values() if isinstance(c, str)])
def test_whatever_is_read_can_be_written_again(content: str) -> None:
    try:
        value = parse_json(content)
    except ValueError:
        return
    canonical(value).encode()


def test_a_file_of_our_own_that_is_damaged_is_a_value_error(tmp_path: Path) -> None:
    (tmp_path / "outcome.json").write_text(DEEP)
    with pytest.raises(ValueError, match="nested deeper than"):
        read_json(tmp_path / "outcome.json")


GOOD = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
BAD_TENSORS: list[Any] = [
    None,
    [],
    {},
    {**GOOD, "dtype": 1},
    {**GOOD, "shape": None},
    {**GOOD, "shape": "23"},
    {**GOOD, "shape": [-2, 3]},
    {**GOOD, "shape": [2.0, 3]},
    {**GOOD, "shape": [True, 3]},
    {**GOOD, "shape": ["2"]},
    {**GOOD, "shape": [1 << 40, 1 << 40]},
    {**GOOD, "shape": [10**400]},
    {**GOOD, "shape": [1] * 100_000},
    {**GOOD, "data_offsets": [0]},
    {**GOOD, "data_offsets": [24, 0]},
    {**GOOD, "data_offsets": [-1, 23]},
    {**GOOD, "data_offsets": [0, 1 << 70]},
    {**GOOD, "data_offsets": {}},
]


@pytest.mark.parametrize("tensor", BAD_TENSORS)
def test_a_tensor_that_cannot_be_is_told(tmp_path: Path, tensor: Any) -> None:
    (tmp_path / "m.safetensors").write_bytes(safetensors({"w": tensor}, bytes(24)))
    with pytest.raises(UsageError, match=r"m\.safetensors: tensor 'w': expected dtype, shape"):
        safetensors_header(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not a safetensors file"),
        (b"\x01\x00", "not a safetensors file"),
        (struct.pack("<Q", 1 << 63), "not a safetensors file"),
        (struct.pack("<Q", 10) + b"{}", "not a safetensors file"),
        (safetensors(DEEP.encode()), "header: not JSON"),
        (safetensors(b"[]"), "header: expected a JSON object"),
        (safetensors(b'{"w": 1, "w": 2}'), "'w' is given twice"),
        (safetensors({"w": GOOD}, bytes(23)), "it is cut off"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not a safetensors file"),
    ],
)
def test_a_file_that_is_no_safetensors_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    folder = write_hugging_face(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(UsageError, match=told):
        inspect(folder)


def test_a_header_beyond_the_formats_own_limit_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "m.safetensors", "wb") as file:
        file.write(struct.pack("<Q", 100_000_001))
        file.truncate(1 << 40)  # takes no space on disk
    with pytest.raises(UsageError, match="its header would have 100000001 bytes"):
        safetensors_header(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", "64"),
        ("hidden_size", -64),
        ("num_attention_heads", 1.5),
        ("vocab_size", 10**30),
        ("num_hidden_layers", True),
        ("head_dim", {}),
        ("model_type", 7),
    ],
)
def test_a_model_configuration_of_nonsense_is_told(tmp_path: Path, key: str, value: Any) -> None:
    folder = write_hugging_face(tmp_path / "model", **{key: value})
    with pytest.raises(UsageError, match=rf"config\.json: {key}: expected .*, found"):
        inspect(folder)


def test_what_a_configuration_leaves_open_is_unknown(tmp_path: Path) -> None:
    """A list says one number for each layer, null nothing; some write infinities, too."""
    unknown = {"hidden_size": None, "num_attention_heads": [4, 8], "time_step": float("inf")}
    info = inspect(write_hugging_face(tmp_path / "model", **unknown))
    assert (info.hidden_size, info.head_dim, info.layers) == (0, 0, 0)
