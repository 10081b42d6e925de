"""What is trained on rounded weights is what is built: codes, scales and logits."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from paretune.core.candidate import RuntimeSettings, Step
from paretune.core.errors import PassError
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.models.handle import open_model
from paretune.passes.lora import training
from paretune.passes.lora.exact_sum import exact_delta
from paretune.passes.lora.lora import Lora, LoraParams
from paretune.passes.lora.merge import Merge
from paretune.passes.lora.qlora import QLora, QLoraParams
from paretune.passes.quantization.grid import Grid, decode, encode
from paretune.registry import find_pass
from paretune.runtimes.genai import GenaiSession
from paretune.testing.passes import TARGET
from tests.pass_bench import Bench, FakeCatalog, logits, tone_data
from tests.tiny_models import make_small, make_tiny_llama

TRAINING = {"train": "tone.train", "r": 4, "batch_size": 4, "learning_rate": 3e-2, "max_steps": 3}
INT4 = {"bits": 4, "block_size": 32}
TOKENS = [1, 7, 30, 42, 9, 64, 5, 17]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, FakeCatalog({"tone.train": tone_data(22)}))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny: Model) -> Callable[[str], Model]:
    """Give models by name; each is made once."""
    folder = tmp_path_factory.mktemp("models")
    made = {"tied Llama": tiny}

    def give(name: str) -> Model:
        if name not in made:
            if name == "Llama of 4 layers":
                made[name] = open_model(make_tiny_llama(folder / "four", layers=4, tied=False))
            else:
                more = {"original_max_position_embeddings": 256} if name == "Phi3" else {}
                more |= {"head_dim": 16} if name in ("Qwen3", "Mistral") else {}
                made[name] = open_model(make_small(folder, name, **more))
        return made[name]

    return give


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


@dataclass
class _Node:
    """A matrix of a build: codes (or, with 32 bits, numbers) and scales, a row per output."""

    bits: int
    codes: Any
    scales: Any
    used: bool = False


def _nodes(package: Path) -> dict[str, _Node]:
    """Return the matrices of a build, by the node's name."""
    model = onnx.load(package / "model.onnx")
    held = {each.name: each for each in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in held:
            matrix = torch.tensor(numpy_helper.to_array(held[node.input[1]])).t()
            found[node.name] = _Node(32, matrix, matrix[:, :0])
        if node.op_type != "MatMulNBits":
            continue
        codes, scales = (numpy_helper.to_array(held[name]) for name in node.input[1:3])
        how = {each.name: each.i for each in node.attribute}
        if how["bits"] == 4:
            codes = np.stack([codes & 15, codes >> 4], -1)
        codes = codes.reshape(how["N"], -1)[:, : how["K"]]
        name = re.sub(r"_Q\d$", "", node.name)
        scales = torch.tensor(scales).reshape(how["N"], -1)
        found[name] = _Node(how["bits"], torch.tensor(codes).float(), scales)
    return found


_FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}


def _held(nodes: dict[str, _Node], network: Any, path: str) -> list[tuple[_Node, slice, slice]]:
    """Return where a build holds a layer: nodes, their rows, and the layer's rows."""
    if path == "lm_head":
        return [(nodes["/lm_head/MatMul"], slice(None), slice(None))]
    _, _, number, part, name = path.split(".")
    start = f"/model/layers.{number}/{'attn' if part == 'self_attn' else part}/"
    if f"{start}{name}/MatMul" in nodes:
        return [(nodes[f"{start}{name}/MatMul"], slice(None), slice(None))]
    for whole, parts in _FUSED.items():
        if name in parts:  # one of several layers that are one node
            before = sum(
                network.get_submodule(f"model.layers.{number}.{part}.{each}").out_features
                for each in parts[: parts.index(name)]
            )
            count = network.get_submodule(path).out_features
            node = nodes[f"{start}{whole}/MatMul"]
            return [(node, slice(before, before + count), slice(None))]
    found, done = [], 0  # a layer that is several nodes
    for each in _FUSED[name]:
        node = nodes[f"{start}{each}/MatMul"]
        found.append((node, slice(None), slice(done, done + len(node.codes))))
        done += len(node.codes)
    return found


GENAI4 = [("genai", {"precision": "int4"})]
BUILDS: dict[str, tuple[str, list[tuple[str, dict[str, Any]]], dict[str, Any]]] = {
    "shared embedding": ("tied Llama", GENAI4, {}),
    "rank-stabilized": ("tied Llama", GENAI4, {"use_rslora": True, "alpha": 7}),
    "8 bits": (
        "tied Llama",
        [("genai", {"precision": "int8", "block_size": 64})],
        {"gradient_checkpointing": True, "gradient_accumulation_steps": 2},
    ),
    "zero points": (
        "Qwen2",
        [("genai", {"precision": "int4", "is_symmetric": False})],
        {"batching": "padding_free"},
    ),
    "adapters on a part, head in fp32": (
        "Qwen2",
        [("genai", {"precision": "int4", "nodes_to_exclude": ["/lm_head/MatMul"]})],
        {"target_modules": ["q_proj", "down_proj"]},
    ),
    "tied, head in fp32": (
        "tied Llama",
        [("genai", {"precision": "int4", "nodes_to_exclude": ["/lm_head/MatMul"]})],
        {},
    ),
    "head at 8 bits": (
        "Llama of 4 layers",
        [("genai", {"precision": "int4", "matmul_mixed_precision": "last_matmul:int8"})],
        {},
    ),
    "layers at 8 bits": (
        "Llama of 4 layers",
        [("genai", {"precision": "int4", "matmul_mixed_precision": "mixed_layers:int8"})],
        {},
    ),
    "layers at 8 bits, projections apart": (
        "Llama of 4 layers",
        [
            (
                "genai",
                {
                    "precision": "int4",
                    "matmul_mixed_precision": "last_matmul:int8,mixed_layers:int8",
                    "fuse_qkv": False,
                    "nodes_to_exclude": ["/model/layers.1/attn/v_proj/MatMul"],
                },
            )
        ],
        {},
    ),
    "nodes in fp32 in fused projections and among layers at 8 bits": (
        "Llama of 4 layers",
        [
            (
                "genai",
                {
                    "precision": "int4",
                    "matmul_mixed_precision": "mixed_layers:int8",
                    "nodes_to_exclude": [
                        "/model/layers.0/mlp/down_proj/MatMul",
                        "/model/layers.0/attn/qkv_proj/MatMul",
                        "/model/layers.1/attn/v_proj/MatMul",
                        "/model/layers.2/attn/q_proj/MatMul",
                        "/model/layers.3/attn/k_proj/MatMul",
                    ],
                },
            )
        ],
        {},
    ),
    "matmul_nbits": (
        "tied Llama",
        [
            ("genai", {"precision": "fp32"}),
            (
                "matmul_nbits",
                {
                    "block_size": 16,
                    "keep_8bit": ["*/down_proj/MatMul", "*/qkv_proj/*"],
                    "exclude": ["*/layers.1/attn/qkv_proj/*", "*/layers.0/mlp/up_proj/*"],
                },
            ),
        ],
        {},
    ),
    "Qwen2": ("Qwen2", GENAI4, {}),
    "Qwen3": ("Qwen3", GENAI4, {}),
    "Mistral": ("Mistral", GENAI4, {}),
    "Phi3": ("Phi3", GENAI4, {}),
}


def _built(bench: Bench, model: Model, steps: list[tuple[str, dict[str, Any]]], level: int) -> Path:
    for name, params in steps:
        last = {"accuracy_level": level} if (name, params) == steps[-1] else {}
        folder = bench.run(find_pass(name), model, {**params, **last}, f"{name}-{level}")
        model = open_model(folder)
    return folder


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("case", BUILDS)
def test_the_build_holds_what_was_trained(
    bench: Bench, models: Callable[[str], Model], trained: list[Any], case: str
) -> None:
    name, steps, more = BUILDS[case]
    model = models(name)
    following = [Step("merge"), *(Step(*step) for step in steps)]
    params = Lora().look_ahead({**TRAINING, "quantize_for": "next", **more}, following)
    assert not isinstance(params, str)
    adapter = bench.run(Lora(), model, params, "lora")
    merged = bench.run(Merge(), Model(ModelKind.HF_ADAPTER, adapter, "", base=model), {}, "merge")
    package = _built(bench, open_model(merged), steps, 1)
    (adapted,) = trained
    adapted.eval()
    with torch.no_grad():
        ours = adapted(input_ids=torch.tensor([TOKENS])).logits[0].numpy()
    network, nodes = adapted.get_base_model(), _nodes(package)
    grid = params["quantize_for"]
    for path, layer in network.named_modules():
        if ".lora_" in path or not hasattr(layer, "out_features"):
            continue
        if path.endswith("base_layer"):
            continue
        assert _is_held(layer, _held(nodes, network, path), grid), path
    assert all(node.used for node in nodes.values())
    theirs = logits(package, TOKENS)
    assert np.abs(theirs - ours).max() < 1e-3
    # Eight bits of activations are another function; the weights are the same.
    coarse = _built(bench, open_model(merged), steps, 4)
    assert np.abs(logits(coarse, TOKENS) - ours).max() > np.abs(theirs - ours).max()


def _is_held(layer: Any, held: list[tuple[_Node, slice, slice]], params: dict[str, Any]) -> bool:
    """Return whether a layer computes with exactly the codes and scales that a build holds."""
    for node, rows, own in held:
        node.used = True
        codes, scales = node.codes[rows], node.scales[rows]
        if not hasattr(layer, "lora_A"):
            used, total = layer.weight[own], None
        else:
            used = layer.forward.weight[own]
            total = (layer.base_layer.weight + exact_delta(layer, "default"))[own]
        if node.bits == 32:
            if not torch.equal(used, codes):
                return False
            continue
        grid = Grid(node.bits, params["block_size"], params.get("is_symmetric", True))
        if total is None:  # rounded once: what was rounded is not there any more
            wide = scales.repeat_interleave(grid.block_size, dim=1)[:, : codes.shape[1]]
            if grid.symmetric and not torch.equal((codes - (1 << grid.bits - 1)) * wide, used):
                return False
            continue
        encoded = encode(total, grid)
        same = torch.equal(encoded.codes.flatten(1)[:, : total.shape[1]], codes)
        same &= torch.equal(encoded.scales, scales) and torch.equal(used, decode(encoded))
        if not same:
            return False
    return True


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("tied Llama", {"precision": "int4"}),
        ("Qwen2", {"precision": "int8", "block_size": 64}),
        ("Phi3", {"precision": "int4", "is_symmetric": False, "block_size": 16}),
        (
            "Llama of 4 layers",
            {"precision": "int4", "matmul_mixed_precision": "last_matmul:int8,mixed_layers:int8"},
        ),
        ("tied Llama", {"precision": "int4", "nodes_to_exclude": ["/lm_head/MatMul"]}),
    ],
)
def test_an_adapter_apart_is_trained_beside_the_rounded_base(
    bench: Bench,
    models: Callable[[str], Model],
    trained: list[Any],
    name: str,
    build: dict[str, Any],
) -> None:
    model, build = models(name), {**build, "accuracy_level": 1}
    params = Lora().look_ahead({**TRAINING, "quantize_for": "next"}, [Step("genai_adapter", build)])
    assert not isinstance(params, str)
    assert params["quantize_for"]["adapter_apart"]
    adapter = bench.run(Lora(), model, params, "lora")
    tuned = Model(ModelKind.HF_ADAPTER, adapter, "", base=model)
    package = bench.run(find_pass("genai_adapter"), tuned, build, "build")
    (adapted,) = trained
    adapted.eval()
    with torch.no_grad():
        ours = adapted(input_ids=torch.tensor([TOKENS])).logits[0].numpy()
        with adapted.disable_adapter():
            base = adapted(input_ids=torch.tensor([TOKENS])).logits[0].numpy()
    assert np.abs(ours - base).max() > 1e-2, "nothing was learned"
    session = GenaiSession(package, RuntimeSettings())
    assert np.abs(session.sequence_logits(TOKENS) - ours).max() < 1e-3
    session.adapters.use(None)
    assert np.abs(session.sequence_logits(TOKENS) - base).max() < 1e-3


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
    plain = LoraParams(train="a.b", quantize_for=INT4)
    assert "scales in 16 bits" in str(Lora().check(info, plain, TARGET, "cuda"))
    other = ModelInfo(ModelKind.HF, model_type="gemma2")
    assert "which matrices a build of 'gemma2'" in str(Lora().check(other, plain, TARGET, "cpu"))
    assert "rounded as they are" in str(Lora().check(info, head, TARGET, "cpu"))


@pytest.mark.parametrize(
    ("grid", "refused"),
    [
        ({}, False),
        ({"nodes": {"/lm_head/MatMul": None}, "mixed_layers": True}, False),
        ({"nodes": {"/model/layers.0/mlp/down_proj/MatMul": None}}, True),
        ({"mixed_layers": True, "fuse_qkv": False}, True),
    ],
    ids=str,
)
def test_nodes_that_are_not_known_are_refused_before_it_runs(
    grid: dict[str, Any], refused: bool
) -> None:
    params = LoraParams(train="a.b", quantize_for={**INT4, **grid})
    parts = ModelInfo(ModelKind.HF, "phi3", modules=frozenset({"qkv_proj", "gate_up_proj"}))
    told = str(Lora().check(parts, params, TARGET, "cpu"))
    assert ("which node of a build holds gate_up_proj is not known" in told) == refused
    apart = ModelInfo(ModelKind.HF, "llama", modules=frozenset({"q_proj", "gate_proj"}))
    assert Lora().check(apart, params, TARGET, "cpu") is None


def test_next_without_a_recipe_is_refused(bench: Bench, tiny: Model) -> None:
    with pytest.raises(PassError, match="there is no recipe"):
        bench.run(Lora(), tiny, {**TRAINING, "quantize_for": "next"}, "lora")


def test_parameters_without_it_are_written_as_before() -> None:
    assert "quantize_for" not in LoraParams(train="a.b").model_dump(mode="json")
