"""Encoders are recognized, loaded with the class of their task, and run on named arrays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import InvalidArtifactError
from paretune.models.handle import detect_kind, inspect, open_model
from paretune.runtimes.serving import load_session
from paretune.testing import check_kind, check_runtime
from tests.tiny_encoders import make_tiny_encoder

CPU = RuntimeSettings("cpu", 1)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    names = ("bert", "distilbert", "vit", "resnet")
    return {name: make_tiny_encoder(root / name, name) for name in names}


@pytest.mark.parametrize("name", ["bert", "vit"])
def test_the_kind_keeps_to_its_contract(encoders: dict[str, Path], name: str) -> None:
    check_kind("hf-encoder", encoders[name])
    assert inspect(encoders[name]).model_type == name


def test_the_runtime_keeps_to_its_contract(encoders: dict[str, Path]) -> None:
    check_runtime("torch_arrays", encoders["bert"])


@pytest.mark.parametrize(
    ("name", "inputs", "output"),
    [
        ("bert", dict.fromkeys(("input_ids", "attention_mask", "token_type_ids")), "logits"),
        ("distilbert", dict.fromkeys(("input_ids", "attention_mask")), "last_hidden_state"),
        ("vit", {"pixel_values": (None, 3, 16, 16)}, "logits"),
        ("resnet", {"pixel_values": (None, 3, 32, 32)}, "logits"),
    ],
)
def test_inputs_are_read_from_the_network_and_its_processor(
    encoders: dict[str, Path],
    name: str,
    inputs: dict[str, tuple[int | None, ...] | None],
    output: str,
) -> None:
    session = load_session(open_model(encoders[name]), CPU)
    text = ("int64", (None, None))
    assert session.inputs == {k: ("float32", v) if v else text for k, v in inputs.items()}
    draw = np.random.default_rng(0)
    arrays = {
        key: draw.normal(size=(2, *shape[1:])).astype(kind)
        if kind == "float32"
        else np.ones((2, 5), kind)
        for key, (kind, shape) in session.inputs.items()
    }
    first, second = session.run(arrays), session.run(arrays)
    assert set(first) >= {output}
    assert first[output].shape[0] == 2
    assert np.array_equal(first[output], second[output])  # no dropout


def test_wrong_arrays_are_refused(encoders: dict[str, Path]) -> None:
    session = load_session(open_model(encoders["bert"]), CPU)
    with pytest.raises(InvalidArtifactError, match="the network takes input_ids, attention_mask"):
        session.run({"input_ids": np.ones((1, 4), "int64")})
    beyond = {name: np.full((1, 4), 99) for name in session.inputs}
    with pytest.raises(InvalidArtifactError, match="does not run"):
        session.run(beyond)


@pytest.mark.parametrize(
    ("architecture", "files", "kind"),
    [
        ("BertModel", ("model.safetensors",), "hf-encoder"),
        ("GPT2LMHeadModel", ("model.safetensors",), "hf"),
        ("LlamaForCausalLM", ("model.safetensors",), "hf"),
        ("T5ForConditionalGeneration", ("model.safetensors",), "hf"),
        ("BertModel", ("model.onnx",), "onnx"),
        ("BertModel", ("model.onnx", "model.safetensors"), "hf-encoder"),
        (None, ("model.safetensors",), "hf"),
    ],
)
def test_the_architecture_decides_what_a_folder_is(
    tmp_path: Path, architecture: str | None, files: tuple[str, ...], kind: str
) -> None:
    config = {} if architecture is None else {"architectures": [architecture]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name in files:
        (tmp_path / name).touch()
    assert detect_kind(tmp_path) == kind


def test_a_network_of_two_inputs_is_refused(encoders: dict[str, Path], tmp_path: Path) -> None:
    import transformers

    text = {"vocab_size": 50, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = transformers.BartConfig(**text, **heads, encoder_ffn_dim=8, decoder_ffn_dim=8)
    transformers.BartForSequenceClassification(config).save_pretrained(tmp_path)
    with pytest.raises(InvalidArtifactError, match="BartForSequenceClassification takes input_ids"):
        load_session(open_model(tmp_path), CPU)
