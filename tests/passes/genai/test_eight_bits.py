"""Matrices of a 4-bit build that get 8 bits are those of the 8-bit build."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from transformers import AutoModelForCausalLM

from paretune.core.errors import InvalidArtifactError
from paretune.core.model import Model
from paretune.models.handle import open_model
from paretune.passes.genai.eight_bits import require_bits, widen
from paretune.passes.genai.genai import Genai
from paretune.passes.genai.node_sources import pieces_of_layers
from paretune.passes.genai.quantized_nodes import open_build
from paretune.passes.quantization.grid import decode
from paretune.passes.quantization.rounding_grid import HEAD
from tests.pass_bench import Bench, generate, logits
from tests.tiny_models import make_small

TOKENS = [1, 7, 30, 42, 9, 64, 5, 17]
MODELS: dict[str, dict[str, Any]] = {
    "tied Llama": {},
    "Qwen2": {"tie_word_embeddings": True},  # a row is no whole number of blocks
    "Phi3": {"original_max_position_embeddings": 256},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny: Model) -> Callable[[str], Model]:
    """Give models by name; each is made once."""
    folder, made = tmp_path_factory.mktemp("models"), {"tied Llama": tiny}

    def give(name: str) -> Model:
        if name not in made:
            made[name] = open_model(make_small(folder, name, **MODELS[name]))
        return made[name]

    return give


def _weights(model: Model, out: Path) -> dict[str, Any]:
    """Return by node what its matrix was rounded from."""
    network = AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32)
    found: dict[str, list[Any]] = {}
    with open_build(out) as build:
        pieces = [each for of in pieces_of_layers(network, build.nodes) for each in of]
    for piece in sorted((p for p in pieces if p.node is not None), key=lambda p: p.first):
        found.setdefault(piece.node.name, []).append(piece.weight)
    return {
        **{name: torch.cat(parts) for name, parts in found.items()},
        HEAD: network.lm_head.weight.detach(),
    }


def _tensors(out: Path) -> dict[str, Any]:
    graph = onnx.load(out / "model.onnx").graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    return {
        name: onnx.numpy_helper.to_array(held[name])
        for node in graph.node
        if node.op_type == "MatMulNBits"
        for name in node.input[1:4]
        if name
    }


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "zero points"])
@pytest.mark.parametrize("name", MODELS)
def test_all_of_them_widened_are_the_build_with_8_bits(
    bench: Bench, models: Callable[[str], Model], name: str, symmetric: bool
) -> None:
    model = models(name)
    grid = {"is_symmetric": symmetric, "accuracy_level": 1}
    out = bench.run(Genai(), model, {"precision": "int4", **grid}, "four")
    tied = True if name != "Phi3" else None
    whole = {"precision": "int8", "shared_embeddings": tied, **grid}
    wanted = bench.run(Genai(), model, whole, "eight")
    widen(out, _weights(model, out))
    mine, theirs = _tensors(out), _tensors(wanted)
    assert {n: each.shape for n, each in mine.items()} == {n: a.shape for n, a in theirs.items()}
    with open_build(out) as first, open_build(wanted) as other:
        assert first.nodes == other.nodes
        for node, held in first.nodes.items():
            one, two = first.read(node), other.read(node)
            assert torch.equal(one.scales, two.scales)
            assert torch.equal(one.zero_points, two.zero_points)
            assert torch.equal(decode(one)[:, : held.width], decode(two)[:, : held.width])
    assert np.array_equal(logits(out, TOKENS), logits(wanted, TOKENS))
    assert generate(out, TOKENS) == generate(wanted, TOKENS)


def test_one_of_them_leaves_the_others(bench: Bench, tiny: Model) -> None:
    out = bench.run(Genai(), tiny, {"precision": "int4"}, "four")
    before = _tensors(out)
    name = "/model/layers.1/mlp/down_proj/MatMul"
    widen(out, {name: _weights(tiny, out)[name]})
    after = _tensors(out)
    changed = {t for t in before if t not in after or not np.array_equal(before[t], after[t])}
    assert changed == {
        "model.layers.1.mlp.down_proj.MatMul.weight_Q4",
        "model.layers.1.mlp.down_proj.MatMul.weight_scales",
    }
    with open_build(out) as build:
        assert {n for n, node in build.nodes.items() if node.grid.bits == 8} == {name}
    assert len(generate(out, TOKENS)) == 3


def test_bits_that_were_not_asked_for_are_found(bench: Bench, tiny: Model) -> None:
    out = bench.run(Genai(), tiny, {"precision": "int4"}, "four")
    require_bits(out, {})
    with pytest.raises(InvalidArtifactError, match="has 4 bits in the build, expected 8"):
        require_bits(out, {HEAD: 8})
    with pytest.raises(InvalidArtifactError, match="/other has no bits in the build, expected 8"):
        require_bits(out, {"/other": 8})


def test_without_a_name_no_file_is_touched(bench: Bench, tiny: Model) -> None:
    out = bench.run(Genai(), tiny, {"precision": "int4"}, "four")
    before = {file: file.stat().st_mtime_ns for file in out.iterdir()}
    widen(out, {})
    assert {file: file.stat().st_mtime_ns for file in out.iterdir()} == before
