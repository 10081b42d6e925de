"""The embedding that reads the head's rounded matrix, where the builder cannot share it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from transformers import AutoModelForCausalLM

from paretune.core.device import TargetInfo
from paretune.core.errors import PassError
from paretune.core.model import Model
from paretune.models.handle import inspect, open_model
from paretune.passes.genai.genai import Genai
from paretune.passes.genai.options import GenaiParams, expected_bytes
from paretune.passes.genai.shared_embedding import share_embedding
from paretune.passes.quantization.grid import Grid, rounded
from tests.pass_bench import Bench, generate, logits
from tests.tiny_models import make_tiny_llama

TOKENS = [1, 7, 30, 42, 9, 64, 5, 17]
INT4, INT8 = {"precision": "int4"}, {"precision": "int8"}
LAST = {"matmul_mixed_precision": "last_matmul:int8"}
BUILDS: list[tuple[dict[str, Any], Grid]] = [
    ({**INT8, "shared_embeddings": True}, Grid(8, 32)),
    ({**INT8, "shared_embeddings": True, "is_symmetric": False}, Grid(8, 32, symmetric=False)),
    ({**INT4, "is_symmetric": False}, Grid(4, 32, symmetric=False)),
    ({**INT4, "is_symmetric": False, "block_size": 16}, Grid(4, 16, symmetric=False)),
    ({**INT4, **LAST}, Grid(8, 32)),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny: Model) -> dict[str, Model]:
    """A tied model whose width is blocks, and one whose last block is a part of one."""
    folder = tmp_path_factory.mktemp("filled")
    filled = make_tiny_llama(folder, hidden_size=80, heads=5, kv_heads=1)
    return {"whole blocks": tiny, "a part of one": open_model(filled)}


@pytest.mark.parametrize("width", ["whole blocks", "a part of one"])
@pytest.mark.parametrize(("params", "grid"), BUILDS, ids=str)
def test_the_embedding_is_the_rounded_head(
    bench: Bench, models: dict[str, Model], params: dict[str, Any], grid: Grid, width: str
) -> None:
    """The build with a table of its own gives these logits once its table is rounded."""
    model = models[width]
    info = inspect(model.path)
    assert Genai().check(info, GenaiParams(**params), TargetInfo("local"), "cpu") is None
    shared = bench.run(Genai(), model, {**params, "accuracy_level": 1}, "shared")
    apart = dict(params)
    apart["shared_embeddings"] = False if params["precision"] == "int4" else None
    alone = bench.run(Genai(), model, {**apart, "accuracy_level": 1}, "alone")
    network = AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32)
    table = rounded(network.get_input_embeddings().weight.detach(), grid)
    graph = onnx.load(alone / "model.onnx")
    held = {tensor.name: tensor for tensor in graph.graph.initializer}
    held["model.embed_tokens.weight"].raw_data = table.numpy().tobytes()
    onnx.save(graph, alone / "model.onnx")
    assert logits(shared, TOKENS) == pytest.approx(logits(alone, TOKENS), abs=1e-4)
    assert len(generate(shared, TOKENS)) == 3


def test_the_file_is_smaller_by_the_embedding(bench: Bench, tiny: Model) -> None:
    sizes = [
        (bench.run(Genai(), tiny, params, name) / "model.onnx.data").stat().st_size
        for name, params in {
            "alone": INT8,
            "shared": {**INT8, "shared_embeddings": True},
        }.items()
    ]
    info = inspect(tiny.path)
    table = 4 * info.vocab_size * info.hidden_size
    assert sizes[0] - sizes[1] == pytest.approx(table, rel=0.02)


def test_equal_builds_have_equal_bytes(bench: Bench, tiny: Model) -> None:
    params = {**INT8, "shared_embeddings": True}
    one, two = (bench.run(Genai(), tiny, params, name) for name in ("one", "two"))
    for name in ("model.onnx", "model.onnx.data"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_a_head_in_full_precision_has_nothing_to_share(bench: Bench, tiny: Model) -> None:
    params = {**INT8, "nodes_to_exclude": ["/lm_head/MatMul"]}
    out: Path = bench.run(Genai(), tiny, params, "plain")
    before = (out / "model.onnx").read_bytes()
    with pytest.raises(PassError, match="no embedding of its own beside a rounded head"):
        share_embedding(out)
    assert (out / "model.onnx").read_bytes() == before


@pytest.mark.parametrize(
    "params",
    [INT8, {"precision": "int4"}, {"precision": "int4", "is_symmetric": False}],
    ids=str,
)
def test_an_embedding_is_in_full_precision_with_the_head_that_it_shares(
    bench: Bench, tiny: Model, params: dict[str, Any]
) -> None:
    params = {**params, "nodes_to_exclude": ["/lm_head/MatMul"]}
    sizes = {}
    for name, more in {"shared": {}, "alone": {"shared_embeddings": False}}.items():
        if "int8" in params.values() and more:
            continue  # refused: it is the default where the head is rounded
        out = bench.run(Genai(), tiny, {**params, **more}, name)
        graph = onnx.load(out / "model.onnx", load_external_data=False).graph
        assert all(node.op_type != "GatherBlockQuantized" for node in graph.node)
        sizes[name] = (out / "model.onnx.data").stat().st_size
        expected = expected_bytes(inspect(tiny.path), GenaiParams(**{**params, **more}))
        whole = sum(file.stat().st_size for file in out.iterdir())
        assert expected == pytest.approx(whole, abs=22_000)  # of the graph, and not of a table
    info = inspect(tiny.path)
    table = 4 * info.vocab_size * info.hidden_size
    assert table > 80_000
    assert sizes.get("alone", sizes["shared"] + table) - sizes["shared"] == table
