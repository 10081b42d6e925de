"""Whatever stands in a model's files: a handle and its facts, or a UsageError."""

import json
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from paretune.core.errors import UsageError
from paretune.models.handle import inspect, open_model
from paretune.models.onnx_files import external_files
from paretune.models.safetensors_files import safetensors_header
from tests.security.fuzzing import damaged, fuzz, json_values, mutated
from tests.security.hostile import safetensors, write_genai, write_hugging_face

HEADER = {
    "__metadata__": {"format": "pt"},
    "a.q_proj.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "b.weight": {"dtype": "BF16", "shape": [4], "data_offsets": [16, 24]},
}
CONFIG = {
    "model_type": "llama",
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "vocab_size": 9,
    "head_dim": None,
    "tie_word_embeddings": True,
    "architectures": ["A"],
}
INDEX = {"metadata": {"total_size": 4}, "weight_map": {"w": "model.safetensors"}}
GENAI = {
    "model": {
        "type": "llama",
        "vocab_size": 9,
        "eos_token_id": [1, 2],
        "decoder": {
            "filename": "model.onnx",
            "session_options": {"log_id": "x", "provider_options": [{"cuda": {"a": "1"}}]},
            "inputs": {"input_ids": "input_ids", "past_key_names": "past.%d.key"},
            "pipeline": [{"embedding": {"filename": "model.onnx"}}],
        },
    },
    "search": {"max_length": 9, "do_sample": False},
}
WORDS = (
    "filename",
    "config_filename",
    "custom_ops_library",
    "tokenizer_dir",
    "session_options",
    "model.onnx",
    "../x",
    "weight_map",
    "model.safetensors",
    "dtype",
    "shape",
    "data_offsets",
    "F32",
    "transformers_weights",
    "auto_map",
    "hidden_size",
)


def model() -> bytes:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="model.onnx")
    inner = helper.make_graph([], "inner", [], [], [tensor])
    node = helper.make_node("If", ["x"], ["y"], then_branch=inner)
    made: onnx.ModelProto = helper.make_model(helper.make_graph([node], "g", [], [], [tensor]))
    return made.SerializeToString()


MODEL = model()


def opens(folder: Path) -> bool:
    """Open a model as a user who names it; returns whether it can be."""
    try:
        assert open_model(folder).digest.startswith("sha256:")
        info = inspect(folder)
    except UsageError as error:
        assert error.exit_status == 2
        assert error.hint is not None
        return False
    assert info.bytes > 0
    assert info.parameters >= 0
    return True


def fresh(folder: Path, write: Any) -> Path:
    place = folder / write.__name__
    return place if place.is_dir() else write(place)


@fuzz(80)
@given(st.binary(max_size=40) | damaged(safetensors(HEADER, bytes(24))))
def test_any_bytes_as_weights(tmp_path: Path, content: bytes) -> None:
    folder = fresh(tmp_path, write_hugging_face)
    (folder / "model.safetensors").write_bytes(content)
    opens(folder)


@fuzz(80)
@given(json_values(WORDS) | mutated(HEADER, WORDS))
def test_any_header_of_weights(tmp_path: Path, header: Any) -> None:
    folder = fresh(tmp_path, write_hugging_face)
    (folder / "model.safetensors").write_bytes(safetensors(header, bytes(24)))
    if opens(folder):
        tensors = safetensors_header(folder / "model.safetensors").values()
        assert all(n >= 0 for tensor in tensors for n in tensor["shape"])


@fuzz(80)
@given(json_values(WORDS) | mutated(CONFIG, WORDS))
def test_any_configuration(tmp_path: Path, config: Any) -> None:
    folder = fresh(tmp_path, write_hugging_face)
    (folder / "config.json").write_text(json.dumps(config))
    opens(folder)


@fuzz(60)
@given(json_values(WORDS) | mutated(INDEX, WORDS))
def test_any_index(tmp_path: Path, index: Any) -> None:
    folder = fresh(tmp_path, write_hugging_face)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    opens(folder)


@fuzz(100)
@given(json_values(WORDS) | mutated(GENAI, WORDS))
def test_any_genai_configuration(tmp_path: Path, config: Any) -> None:
    folder = fresh(tmp_path, write_genai)
    (folder / "genai_config.json").write_text(json.dumps(config))
    opens(folder)


@fuzz(150)
@given(st.binary(max_size=60) | damaged(MODEL))
def test_any_bytes_as_an_onnx_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    try:
        found = external_files(tmp_path / "model.onnx")
    except UsageError as error:
        assert "model.onnx: not an ONNX file" in error.message
        return
    # What protobuf itself reads of it is among what was found.
    read = onnx.ModelProto()
    try:
        read.ParseFromString(content)
    except DecodeError:  # it also looks into what names no file
        return
    told = {e.value for t in read.graph.initializer for e in t.external_data if e.key == "location"}
    assert told <= set(found)


def test_the_valid_ones_are_valid(tmp_path: Path) -> None:
    hugging_face, genai = write_hugging_face(tmp_path / "hf"), write_genai(tmp_path / "g", MODEL)
    (hugging_face / "config.json").write_text(json.dumps(CONFIG))
    (hugging_face / "model.safetensors").write_bytes(safetensors(HEADER, bytes(24)))
    (hugging_face / "model.safetensors.index.json").write_text(json.dumps(INDEX))
    (genai / "genai_config.json").write_text(json.dumps(GENAI))
    assert opens(hugging_face)
    assert opens(genai)
