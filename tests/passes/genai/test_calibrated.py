"""`genai` with ``algorithm: gptq``: the builder's graph with other codes and scales."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from paretune.core.errors import InvalidArtifactError, PassError
from paretune.core.model import Model
from paretune.models.handle import open_model
from paretune.passes.genai.calibrated import calibrate
from paretune.passes.genai.genai import Genai
from paretune.passes.genai.node_sources import pieces_of_layers
from paretune.passes.genai.quantized_nodes import open_build
from paretune.passes.quantization.grid import decode, encode
from paretune.passes.quantization.rounding_grid import HEAD
from paretune.passes.quantization.sensitivity import SensitivityPass
from tests.pass_bench import Bench, FakeCatalog, FakeDataset, generate, logits
from tests.tiny_models import make_small, make_tiny_llama

TOKENS = [1, 7, 30, 42, 9, 64, 5, 17]
BUILDS: dict[str, tuple[str, dict[str, Any]]] = {
    "tied, int4": ("tied Llama", {"precision": "int4"}),
    "tied, int8": ("tied Llama", {"precision": "int8"}),
    "tied, int8, shared": ("tied Llama", {"precision": "int8", "shared_embeddings": True}),
    "tied, zero points": ("tied Llama", {"precision": "int4", "is_symmetric": False}),
    "int4, zero points": ("Qwen2", {"precision": "int4", "is_symmetric": False}),
    "int8, zero points, block 16": (
        "Qwen2",
        {"precision": "int8", "is_symmetric": False, "block_size": 16},
    ),
    "apart": ("Qwen3", {"precision": "int4", "fuse_qkv": False}),
    "fused in the file": ("Phi3", {"precision": "int4"}),
    "fused in the file, apart": ("Phi3", {"precision": "int4", "fuse_qkv": False}),
    "some at 8 bits": (
        "Mistral",
        {
            "precision": "int4",
            "matmul_mixed_precision": "last_matmul:int8,mixed_layers:int8",
            "nodes_to_exclude": ["/model/layers.0/attn/o_proj/MatMul"],
        },
    ),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny: Model) -> Callable[[str], Model]:
    """Give models by name; each is made once."""
    folder = tmp_path_factory.mktemp("models")
    made = {"tied Llama": tiny}

    def give(name: str) -> Model:
        if name not in made:
            more: dict[str, Any] = {"original_max_position_embeddings": 256}
            more = more if name == "Phi3" else {}
            more |= {"head_dim": 16} if name in ("Qwen3", "Mistral") else {}
            made[name] = open_model(make_small(folder, name, **more))
        return made[name]

    return give


def _network(model: Model) -> Any:
    return AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32).eval()


@pytest.mark.parametrize("build", BUILDS)
def test_each_node_is_the_matrix_that_it_is_taken_for(
    bench: Bench, models: Callable[[str], Model], build: str
) -> None:
    """What the builder wrote are the codes and scales of the network's own matrices."""
    name, params = BUILDS[build]
    model = models(name)
    out = bench.run(Genai(), model, params, "plain")
    network = _network(model)
    with open_build(out) as opened:
        seen = set()
        for pieces in pieces_of_layers(network, opened.nodes):
            for piece in (each for each in pieces if each.node is not None):
                held = opened.read(piece.node.name)
                wanted = encode(piece.weight, piece.node.grid)
                rows = slice(piece.first, piece.first + len(piece.weight))
                assert torch.equal(held.scales[rows], wanted.scales)
                assert torch.equal(held.zero_points[rows], wanted.zero_points)
                width = wanted.width
                of_weights = held.codes[rows].flatten(1)[:, :width]
                assert torch.equal(of_weights, wanted.codes.flatten(1)[:, :width])
                seen.add(piece.node.name)
        assert seen == opened.nodes.keys() - {HEAD}
        head = encode(network.lm_head.weight.detach(), opened.nodes[HEAD].grid)
        assert torch.equal(opened.read(HEAD).scales, head.scales)


@pytest.mark.parametrize("build", BUILDS)
def test_it_is_the_plain_graph_and_nearer_to_the_source(
    bench: Bench, models: Callable[[str], Model], build: str
) -> None:
    name, params = BUILDS[build]
    model = models(name)
    plain = bench.run(Genai(), model, {**params, "accuracy_level": 1}, "plain")
    chosen = {**params, "accuracy_level": 1, "algorithm": "gptq"}
    out = bench.run(Genai(), model, chosen, "gptq")
    assert (out / "model.onnx").read_bytes() == (plain / "model.onnx").read_bytes()
    assert (out / "model.onnx.data").stat().st_size == (plain / "model.onnx.data").stat().st_size
    text = "The river turns towards the sea, and nobody who lives there has seen it dry."
    tokens = AutoTokenizer.from_pretrained(model.path)(text)["input_ids"]
    with torch.no_grad():
        wanted = _network(model)(torch.tensor([tokens])).logits[0]
    far, near = (float((torch.tensor(logits(p, tokens)) - wanted).norm()) for p in (plain, out))
    assert near < 0.93 * far
    assert len(generate(out, TOKENS)) == 3


def test_the_build_computes_with_what_was_calibrated(bench: Bench, tiny: Model) -> None:
    """The network that was rounded layer by layer gives the build's own logits."""
    out = bench.run(
        Genai(), tiny, {"precision": "int4", "algorithm": "gptq", "accuracy_level": 1}, "gptq"
    )
    network = _network(tiny)
    with open_build(out) as opened:
        for pieces in pieces_of_layers(network, opened.nodes):
            for piece in pieces:
                rows = slice(piece.first, piece.first + len(piece.weight))
                piece.module.weight.data[piece.rows] = decode(opened.read(piece.node.name))[rows]
        network.lm_head.weight.data = decode(opened.read(HEAD))
        network.model.embed_tokens.weight = network.lm_head.weight
    with torch.no_grad():
        wanted = network(torch.tensor([TOKENS])).logits[0].numpy()
    assert logits(out, TOKENS) == pytest.approx(wanted, abs=1e-3)


def test_weights_of_next_to_nothing_are_no_other_matrix(bench: Bench, tmp_path: Path) -> None:
    """Their scales have no reciprocal, and the builder's codes for them mean nothing."""
    folder = make_tiny_llama(tmp_path / "small")
    network = _network(open_model(folder))
    for weight in (network.model.embed_tokens.weight, network.model.layers[0].mlp.up_proj.weight):
        weight.data[100:] *= 1e-39
        weight.data[100:, ::3] = 0.0
    network.save_pretrained(folder)
    measured = open_model(bench.run(SensitivityPass(), open_model(folder), {}, "measured"))
    chosen = {"precision": "int4", "accuracy_level": 1, "algorithm": "gptq", "budget": 0.5}
    out = bench.run(Genai(), measured, chosen, "gptq")
    with torch.no_grad():
        wanted = network(torch.tensor([TOKENS])).logits[0].numpy()
    assert np.abs(logits(out, TOKENS) - wanted).max() < 0.2 * np.abs(wanted).max()


def test_the_same_input_gives_the_same_bytes_and_other_texts_give_others(
    bench: Bench, tiny: Model
) -> None:
    gptq = {"precision": "int4", "algorithm": "gptq"}
    texts = {"data": "tone.train", "examples": 6, "max_length": 16}
    found = [
        (bench.run(Genai(), tiny, {**gptq, **more}, name) / "model.onnx.data").read_bytes()
        for name, more in {
            "one": {},
            "two": {},
            "texts": {"calibration": texts},
            "damped": {"damp_percent": 0.5},
        }.items()
    ]
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_a_build_of_another_model_is_not_written_over(
    bench: Bench, tiny: Model, tmp_path: Path
) -> None:
    out = bench.run(Genai(), tiny, {"precision": "int4"}, "plain")
    before = (out / "model.onnx.data").read_bytes()
    other = _network(open_model(make_tiny_llama(tmp_path / "other", seed=1)))
    with pytest.raises(InvalidArtifactError, match="is not the matrix of the model"):
        calibrate(out, other, [TOKENS], 0.01)
    assert (out / "model.onnx.data").read_bytes() == before


def test_texts_without_two_tokens_are_refused(tmp_path: Path, tiny: Model) -> None:
    empty = Bench(tmp_path, FakeCatalog({"tone.train": FakeDataset(())}))
    params = {"precision": "int4", "algorithm": "gptq", "calibration": {"data": "tone.train"}}
    with pytest.raises(PassError, match=r"no text of 'tone.train' has two tokens"):
        empty.run(Genai(), tiny, params, "none")
