"""What is trained on rounded weights is what is built: codes, scales and logits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from paretune.core.errors import PassError
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.models.handle import open_model
from paretune.passes.genai.genai import Genai
from paretune.passes.lora import training
from paretune.passes.lora.exact_sum import exact_delta
from paretune.passes.lora.lora import Lora, LoraParams
from paretune.passes.lora.merge import Merge
from paretune.passes.lora.qlora import QLora, QLoraParams
from paretune.passes.quantization.grid import Grid, decode, encode
from paretune.testing.passes import TARGET
from tests.pass_bench import Bench, FakeCatalog, logits, tone_data
from tests.tiny_models import make_tiny_llama

TRAINING = {"train": "tone.train", "r": 4, "batch_size": 4, "learning_rate": 3e-2, "max_steps": 3}
INT4 = {"bits": 4, "block_size": 32}
TOKENS = [1, 7, 30, 42, 9, 64, 5, 17]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, FakeCatalog({"tone.train": tone_data(22)}))


@pytest.fixture(scope="module")
def qwen2(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A Qwen2 of two layers, with biases, whose head has weights of its own."""
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    source = make_tiny_llama(tmp_path_factory.mktemp("tokens"))
    folder = tmp_path_factory.mktemp("qwen2")
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=80,  # no whole number of blocks
        intermediate_size=144,
        num_hidden_layers=2,
        num_attention_heads=5,
        num_key_value_heads=1,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.1,
    )
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return open_model(folder)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The network as it was when its adapter was written."""
    seen: list[Any] = []
    save = training.save_adapter

    def spy(network: Any, out: Path) -> None:
        seen.append(network)
        save(network, out)

    monkeypatch.setattr(training, "save_adapter", spy)
    return seen


def _nodes(package: Path) -> dict[str, tuple[Any, Any]]:
    """Return the codes and scales of each matrix of a build, by the node's name."""
    model = onnx.load(package / "model.onnx")
    held = {each.name: each for each in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type != "MatMulNBits":
            continue
        codes, scales = (numpy_helper.to_array(held[name]) for name in node.input[1:3])
        how = {each.name: each.i for each in node.attribute}
        if how["bits"] == 4:
            codes = np.stack([codes & 15, codes >> 4], -1)
        codes = codes.reshape(how["N"], -1)[:, : how["K"]]
        name = re.sub(r"_Q\d$", "", node.name)
        found[name] = torch.tensor(codes).float(), torch.tensor(scales).reshape(how["N"], -1)
    return found


def _layer(network: Any, number: int, path: str) -> Any:
    return network.get_base_model().model.layers[number].get_submodule(path)


BUILDS: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("tiny", INT4, {"precision": "int4"}, {}),
    ("tiny", INT4, {"precision": "int4"}, {"use_rslora": True, "alpha": 7}),
    (
        "tiny",
        {"bits": 8, "block_size": 64, "head_bits": 8, "embedding": False},
        {"precision": "int8", "block_size": 64},
        {"gradient_checkpointing": True, "gradient_accumulation_steps": 2},
    ),
    ("qwen2", {**INT4, "embedding": False}, {"precision": "int4"}, {}),
    (
        "qwen2",
        {**INT4, "is_symmetric": False, "embedding": False},
        {"precision": "int4", "is_symmetric": False},
        {"batching": "padding_free"},
    ),
    (
        "qwen2",
        {**INT4, "head_bits": None, "embedding": False},
        {"precision": "int4", "nodes_to_exclude": ["/lm_head/MatMul"]},
        {"target_modules": ["q_proj", "down_proj"]},
    ),
]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize(("source", "grid", "build", "more"), BUILDS, ids=lambda v: str(v)[:60])
def test_the_build_holds_what_was_trained(
    bench: Bench,
    request: pytest.FixtureRequest,
    trained: list[Any],
    source: str,
    grid: dict[str, Any],
    build: dict[str, Any],
    more: dict[str, Any],
) -> None:
    model: Model = request.getfixturevalue(source)
    adapter = bench.run(Lora(), model, {**TRAINING, "quantize_for": grid, **more}, "lora")
    merged = bench.run(Merge(), Model(ModelKind.HF_ADAPTER, adapter, "", base=model), {}, "merge")
    built = open_model(merged)
    package = bench.run(Genai(), built, {**build, "accuracy_level": 1}, "genai")
    (network,) = trained
    network.eval()
    with torch.no_grad():
        ours = network(input_ids=torch.tensor([TOKENS])).logits[0].numpy()
    body = Grid(grid["bits"], grid["block_size"], grid.get("is_symmetric", True))
    nodes = _nodes(package)
    for number in range(2):
        fused = [_layer(network, number, f"self_attn.{name}_proj") for name in "qkv"]
        others = {"attn/o_proj": "self_attn.o_proj"}
        others |= {f"mlp/{name}_proj": f"mlp.{name}_proj" for name in ("gate", "up", "down")}
        layers = {name: [_layer(network, number, path)] for name, path in others.items()}
        for name, parts in {"attn/qkv_proj": fused, **layers}.items():
            codes, scales = nodes[f"/model/layers.{number}/{name}/MatMul"]
            for part in parts:
                count = part.weight.shape[0]
                assert _used(part, codes[:count], scales[:count], body)
                codes, scales = codes[count:], scales[count:]
            assert not len(codes)
    assert ("/lm_head/MatMul" in nodes) == (grid.get("head_bits", 4) is not None)
    theirs = logits(package, TOKENS)
    assert np.abs(theirs - ours).max() < 1e-3
    # Eight bits of activations are another function; the weights are the same.
    coarse = bench.run(Genai(), built, {**build, "accuracy_level": 4}, "coarse")
    assert np.abs(logits(coarse, TOKENS) - ours).max() > np.abs(theirs - ours).max()


def _used(layer: Any, codes: Any, scales: Any, grid: Grid) -> bool:
    """Return whether a layer computes with exactly these codes and scales."""
    if hasattr(layer, "lora_A"):
        weight = layer.base_layer.weight + exact_delta(layer, "default")
        encoded = encode(weight, grid)
        used = layer.forward.weight
        same = torch.equal(encoded.codes.flatten(1)[:, : weight.shape[1]], codes)
        return same and torch.equal(encoded.scales, scales) and torch.equal(used, decode(encoded))
    width = layer.weight.shape[1]
    if grid.symmetric:
        wide = scales.repeat_interleave(grid.block_size, dim=1)[:, :width]
        return torch.equal((codes - (1 << grid.bits - 1)) * wide, layer.weight)
    raise AssertionError("each layer has an adapter where the grid has zero points")


def test_the_gradient_is_that_of_the_sum_without_rounding(bench: Bench) -> None:
    from paretune.passes.lora.rounding import _StraightThrough

    torch.manual_seed(0)
    x, down, up = torch.randn(2, 5, 8), torch.randn(3, 8), torch.randn(6, 3)
    weight, bias = torch.randn(6, 8), torch.randn(6)
    outer = torch.randn(2, 5, 6)
    leaves = [each.clone().requires_grad_() for each in (x, down, up)]
    _StraightThrough.apply(leaves[0], weight, bias, leaves[1], leaves[2], 0.5).backward(outer)
    others = [each.clone().requires_grad_() for each in (x, down, up)]
    total = weight + 0.5 * (others[2] @ others[1])
    # To A and B as through the sum; to the inputs through what was computed with.
    torch.nn.functional.linear(x, total, bias).backward(outer)
    torch.testing.assert_close(leaves[1].grad, others[1].grad)
    torch.testing.assert_close(leaves[2].grad, others[2].grad)
    torch.testing.assert_close(leaves[0].grad, outer @ weight)


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"dropout": 0.1}, "dropout does not go with quantize_for"),
        ({"use_dora": True}, "use_dora does not go with quantize_for"),
        ({"dtype": "bf16"}, "dtype does not go with quantize_for"),
    ],
)
def test_what_would_not_be_rounded_as_one_is_refused(params: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        LoraParams(train="tone.train", quantize_for=INT4, **params)


def test_checks_refuse_a_base_in_another_grid_and_an_adapter_on_the_head() -> None:
    info = ModelInfo(ModelKind.HF, modules=frozenset({"q_proj", "lm_head"}))
    qlora = QLoraParams(train="a.b", quantize_for=INT4)
    assert "the base is held in another grid" in str(QLora().check(info, qlora, TARGET, "cpu"))
    head = LoraParams(train="a.b", quantize_for=INT4, target_modules=["lm_head"])
    assert "rounded as they are" in str(Lora().check(info, head, TARGET, "cpu"))


def test_next_without_a_recipe_is_refused(bench: Bench, tiny: Model) -> None:
    with pytest.raises(PassError, match="there is no recipe"):
        bench.run(Lora(), tiny, {**TRAINING, "quantize_for": "next"}, "lora")


def test_parameters_without_it_are_written_as_before() -> None:
    assert "quantize_for" not in LoraParams(train="a.b").model_dump(mode="json")
