"""The grid of the pass that follows, and what no training can round to."""

from __future__ import annotations

from typing import Any

import pytest

from paretune.core.candidate import Step
from paretune.passes.lora.lora import Lora
from paretune.passes.quantization.next_grid import next_grid
from paretune.passes.quantization.rounding_grid import RoundingGrid

MERGE = Step("merge")
HEAD8 = {"/lm_head/MatMul": 8}
DOWN = "/model/layers.0/mlp/down_proj/MatMul"


def _genai(**params: Any) -> tuple[Step, ...]:
    return (MERGE, Step("genai", params))


def _nbits(**params: Any) -> tuple[Step, ...]:
    return (MERGE, Step("genai", {"precision": "fp32"}), Step("matmul_nbits", params))


GRIDS: list[tuple[tuple[Step, ...], dict[str, Any]]] = [
    (_genai(precision="int4"), {}),
    (_genai(precision="int4", block_size=32, algorithm="default", accuracy_level=1), {}),
    (_genai(precision="int4", block_size=128), {"block_size": 128}),
    (
        _genai(precision="int4", is_symmetric=False, shared_embeddings=False),
        {"is_symmetric": False, "embedding": False},
    ),
    (_genai(precision="int4", is_symmetric=False), {"is_symmetric": False}),
    (_genai(precision="int8"), {"bits": 8}),
    (_genai(precision="int8", shared_embeddings=True), {"bits": 8, "embedding": True}),
    (
        _genai(
            precision="int4", matmul_mixed_precision="last_matmul:int8", shared_embeddings=False
        ),
        {"nodes": HEAD8, "embedding": False},
    ),
    (
        _genai(precision="int4", nodes_to_exclude=["/lm_head/MatMul"]),
        {"nodes": {"/lm_head/MatMul": None}, "embedding": False},
    ),
    (_nbits(), {"embedding": False}),
    (_nbits(keep_8bit=["/lm_head/MatMul"]), {"nodes": HEAD8, "embedding": False}),
    (_nbits(exclude=["/lm_head/MatMul"]), {"nodes": {"/lm_head/MatMul": None}, "embedding": False}),
    (
        _nbits(bits=8, block_size=64),
        {"bits": 8, "block_size": 64},
    ),
    (
        _genai(precision="int4", matmul_mixed_precision="mixed_layers:int8", fuse_qkv=False),
        {"mixed_layers": True, "fuse_qkv": False},
    ),
    (_genai(precision="int4", fuse_qkv=False), {}),
    ((MERGE, Step("sensitivity"), Step("genai", {"precision": "int4", "budget": 0})), {}),
    (_genai(precision="int4", nodes_to_exclude=[DOWN]), {"nodes": {DOWN: None}}),
    (
        _nbits(keep_8bit=["*down*"], exclude=["*1/mlp*"]),
        {"nodes": {"*1/mlp*": None, "*down*": 8}, "embedding": False},
    ),
    (
        (Step("genai_adapter", {"precision": "int8", "block_size": 64}),),
        {"bits": 8, "block_size": 64, "adapter_apart": True},
    ),
    (
        (Step("genai_adapter", {"precision": "int4", "nodes_to_exclude": [DOWN]}),),
        {"nodes": {DOWN: None}, "fuse_qkv": False, "adapter_apart": True},
    ),
]


@pytest.mark.parametrize(("following", "grid"), GRIDS, ids=lambda value: str(value)[:90])
def test_the_grid_is_taken_from_the_next_quantizing_pass(
    following: tuple[Step, ...], grid: dict[str, Any]
) -> None:
    assert next_grid(following) == RoundingGrid(**grid)


REFUSED: list[tuple[tuple[Step, ...], str]] = [
    ((), "no pass after it quantizes"),
    ((MERGE,), "no pass after it quantizes"),
    (_genai(precision="fp32"), "no pass after it quantizes"),
    (_genai(precision="int4", algorithm="k_quant"), "algorithm k_quant chooses codes"),
    (_genai(precision="int4", algorithm="k_quant_mixed"), "algorithm k_quant_mixed"),
    (_genai(precision="int4", algorithm="rtn"), "algorithm rtn"),
    (_genai(precision="int4", algorithm="gptq"), "algorithm gptq"),
    (_nbits(algorithm="hqq"), "algorithm hqq"),
    ((Step("genai_adapter", {"precision": "fp32"}),), "no pass after it quantizes"),
    ((Step("genai_adapter", {"precision": "int4", "algorithm": "rtn"}),), "algorithm rtn"),
    (_genai(precision="int4", budget=0.1), "chooses each matrix's bits after the training"),
    ((MERGE, Step("lora", {"train": "a.b"}), *_genai(precision="int4")), "`lora` follows"),
    (_genai(precision="int5"), "the parameters of genai after it are refused"),
]


@pytest.mark.parametrize(("following", "why"), REFUSED, ids=lambda value: str(value)[:90])
def test_what_cannot_be_trained_for_is_refused_with_its_reason(
    following: tuple[Step, ...], why: str
) -> None:
    told = next_grid(following)
    assert isinstance(told, str)
    assert why in told


@pytest.mark.parametrize(("following", "grid"), GRIDS, ids=lambda value: str(value)[:90])
def test_the_grid_of_the_build_is_no_other_one(
    following: tuple[Step, ...], grid: dict[str, Any]
) -> None:
    params = {"quantize_for": {**grid}}
    assert Lora().look_ahead(params, following) == params


@pytest.mark.parametrize(
    ("grid", "following", "why"),
    [
        ({}, _genai(precision="int4", block_size=128), "block_size 32 and not 128"),
        ({"bits": 8}, _genai(precision="int4"), "bits 8 and not 4"),
        ({"bits": 8}, _genai(precision="int8", shared_embeddings=True), "embedding False and not"),
        ({}, _genai(precision="int4", is_symmetric=False), "is_symmetric True and not False"),
        ({}, _nbits(keep_8bit=["/lm_head/MatMul"]), "bits of the head 4 and not 8"),
        ({}, _genai(precision="int4", nodes_to_exclude=[DOWN]), "down_proj 4 bits and not 32 bits"),
        (
            {"nodes": {"*/dwn_proj/*": None}},  # matches nothing
            _genai(precision="int4", nodes_to_exclude=[DOWN]),
            "layers.0.mlp.down_proj 4 bits and not 32 bits",
        ),
        (
            {"nodes": {"*/down_proj/*": 8}, "embedding": False},
            _nbits(keep_8bit=["*/layers.0/*/down_proj/*"]),
            "layers.1.mlp.down_proj 8 bits and not 4 bits",
        ),
        (
            {"mixed_layers": True},
            _genai(precision="int4", matmul_mixed_precision="mixed_layers:int8", fuse_qkv=False),
            "layers.0.self_attn.q_proj (in a layer that is mixed) 8 bits and not 4 bits",
        ),
        (
            {"mixed_layers": True},
            (MERGE, Step("sensitivity"), *_genai(precision="int4")[1:]),
            "mixed_layers True",
        ),
        ({}, (Step("genai_adapter", {"precision": "int4"}),), "adapter_apart False and not True"),
        ({"bits": 4}, _nbits(bits=4), "embedding True and not False"),
        ({"embedding": False}, _genai(precision="int4"), "embedding False and not True"),
        (
            {"mixed_layers": True, "nodes": {"/model/layers.5/mlp/down_proj/MatMul": 8}},
            _genai(precision="int4", matmul_mixed_precision="mixed_layers:int8"),
            "layers.5.mlp.down_proj (in a layer that is not mixed) 8 bits and not 4 bits",
        ),
    ],
    ids=str,
)
def test_a_given_grid_that_the_build_has_not_is_refused(
    grid: dict[str, Any], following: tuple[Step, ...], why: str
) -> None:
    told = Lora().look_ahead({"train": "a.b", "quantize_for": grid}, following)
    assert isinstance(told, str)
    assert why in told
    assert "give quantize_for: next" in told


def test_patterns_that_say_the_same_are_no_other_grid() -> None:
    nodes = {"/model/layers.*/mlp/d*_proj/MatMul": 8}
    params = {"quantize_for": {"nodes": nodes, "embedding": False}}
    assert Lora().look_ahead(params, _nbits(keep_8bit=["*/down_proj/*"])) == params


@pytest.mark.parametrize(
    ("node", "bits", "fits"),
    [
        ("5/mlp/gate_proj", 4, True),
        ("5/mlp/gate_proj", 8, False),
        ("5/mlp/down_proj", 4, False),
        ("5/attn/o_proj", 4, True),
        ("5/attn/q_proj", 4, False),  # query, key and value would be apart
        ("5/mlp/down_proj", 8, False),
        ("0/mlp/down_proj", 8, True),  # mixed in any model
    ],
)
def test_a_node_that_has_its_bits_anyway_is_no_other_grid(node: str, bits: int, fits: bool) -> None:
    nodes = {f"/model/layers.{node}/MatMul": bits}
    params = {"quantize_for": {"mixed_layers": True, "nodes": nodes}}
    build = _genai(precision="int4", matmul_mixed_precision="mixed_layers:int8")
    assert (Lora().look_ahead(params, build) == params) is fits


@pytest.mark.parametrize("following", [following for following, _ in REFUSED], ids=str)
def test_a_given_grid_stands_where_no_grid_is_known(following: tuple[Step, ...]) -> None:
    params = {"train": "a.b", "quantize_for": {"bits": 4, "block_size": 64}}
    assert Lora().look_ahead(params, following) == params
    assert Lora().look_ahead({"quantize_for": {"bits": 3}}, _genai(precision="int4")) == {
        "quantize_for": {"bits": 3}
    }
