from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from paretune.core.device import TargetInfo
from paretune.core.estimate import DataSize
from paretune.core.model import ModelInfo, ModelKind
from paretune.passes.genai.adapter import GenaiAdapter
from paretune.passes.genai.genai import Genai
from paretune.passes.genai.options import GenaiParams

SMOLLM2 = ModelInfo(
    ModelKind.HF,
    model_type="llama",
    parameters=134_515_008,
    hidden_size=576,
    layers=30,
    vocab_size=49152,
    head_dim=64,
    tied=True,
)
UNTIED = replace(SMOLLM2, tied=False, parameters=134_515_008 + 49152 * 576)


def _why(params: dict[str, Any], model: ModelInfo = SMOLLM2, provider: str = "cpu") -> str | None:
    return Genai().check(model, GenaiParams(**params), TargetInfo("local"), provider)


INT4 = {"precision": "int4"}
INT8 = {"precision": "int8"}


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"shared_embeddings": False},
        {"fuse_qkv": False},
        INT8,
        {**INT8, "is_symmetric": False, "block_size": 128},
        {**INT8, "algorithm": "k_quant"},
        {**INT8, "algorithm": "rtn", "is_symmetric": False, "accuracy_level": 1},
        INT4,
        {**INT4, "block_size": 128},
        {**INT4, "algorithm": "rtn", "is_symmetric": False},
        {**INT4, "algorithm": "k_quant", "is_symmetric": False},
        {**INT4, "algorithm": "k_quant_mixed"},
        {**INT4, "algorithm": "rtn", "matmul_mixed_precision": "last_matmul:int8"},
        {**INT4, "matmul_mixed_precision": "mixed_layers:int8"},
        {**INT4, "is_symmetric": False},
        {**INT4, "matmul_mixed_precision": "last_matmul:int8"},
        {**INT8, "shared_embeddings": True},
        {**INT4, "is_symmetric": False, "shared_embeddings": False},
        {**INT4, "is_symmetric": False, "nodes_to_exclude": ["/lm_head/MatMul"]},
        {**INT4, "algorithm": "gptq", "damp_percent": 0.05},
        {**INT8, "algorithm": "gptq", "calibration": {"data": "tone.train", "examples": 64}},
    ],
    ids=str,
)
def test_what_works_is_not_refused(params: dict[str, Any]) -> None:
    assert _why(params) is None


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"precision": "fp16"}, "does not run on provider 'cpu'"),
        ({"precision": "bf16"}, "does not run on provider 'cpu'"),
        ({"block_size": 64}, "block_size has no effect with precision fp32"),
        ({"is_symmetric": True}, "is_symmetric has no effect"),
        ({"algorithm": "rtn"}, "algorithm has no effect"),
        ({"accuracy_level": 4}, "accuracy_level has no effect"),
        ({"matmul_mixed_precision": "last_matmul:int8"}, "matmul_mixed_precision has no effect"),
        ({"nodes_to_exclude": ["x"]}, "nodes_to_exclude has no effect"),
        ({**INT8, "shared_embeddings": False}, "no effect with precision int8"),
        ({**INT8, "algorithm": "k_quant_mixed"}, "8 bits everywhere"),
        ({**INT8, "matmul_mixed_precision": "mixed_layers:int8"}, "8 bits everywhere"),
        ({**INT4, "algorithm": "k_quant", "is_symmetric": True}, "always has zero points"),
        ({"algorithm": "gptq"}, "algorithm has no effect"),
        ({**INT4, "calibration": {"examples": 8}}, "calibration has no effect"),
        ({**INT4, "algorithm": "rtn", "damp_percent": 0.1}, "damp_percent has no effect"),
        (
            {**INT4, "shared_embeddings": True, "nodes_to_exclude": ["/lm_head/MatMul"]},
            "no rounded matrix to share",
        ),
    ],
    ids=str,
)
def test_what_does_not_work_is_refused(params: dict[str, Any], why: str) -> None:
    assert why in (_why(params) or "")


def test_refusals_that_depend_on_the_model() -> None:
    assert _why({**INT4, "is_symmetric": False}, UNTIED) is None
    for params in ({}, INT8):
        assert "weights of their own" in (_why({**params, "shared_embeddings": True}, UNTIED) or "")
    assert "multiples of 16" in (_why({}, replace(SMOLLM2, head_dim=24)) or "")
    assert _why({}, replace(SMOLLM2, head_dim=24), "cuda") is None
    assert "'mamba'" in (_why({}, replace(SMOLLM2, model_type="mamba")) or "")
    assert _why({}, replace(SMOLLM2, model_type="")) is None


def test_nodes_to_exclude_that_the_built_layers_do_not_allow() -> None:
    def excluding(*nodes: str, **more: Any) -> dict[str, Any]:
        return {**INT4, "nodes_to_exclude": [f"/model/layers.{n}/MatMul" for n in nodes], **more}

    dropped = replace(SMOLLM2, layers=24)
    assert _why(excluding("29/mlp/up_proj")) is None
    assert "names layer 29, and what is built has 24" in (
        _why(excluding("29/mlp/up_proj"), dropped) or ""
    )
    early = excluding("3/attn/v_proj", "4/attn/k_proj")
    assert "in layer 5 the three are one matrix" in (_why(early) or "")
    assert _why({**early, "fuse_qkv": False}) is None
    assert _why(early, replace(SMOLLM2, model_type="qwen3")) is None
    assert _why(excluding("29/attn/v_proj")) is None
    assert _why(excluding("3/attn/qkv_proj")) is None
    apart = GenaiAdapter().check(SMOLLM2, GenaiParams(**early), TargetInfo("local"), "cpu")
    assert apart is None


def test_gptq_is_refused_where_the_places_of_matrices_are_not_known() -> None:
    gptq = {**INT4, "algorithm": "gptq"}
    assert _why(gptq) is None
    for model_type in ("phimoe", "gemma2"):
        why = _why(gptq, replace(SMOLLM2, model_type=model_type))
        assert f"knows no architecture {model_type!r}" in (why or "")
    assert "for cpu only" in (_why(gptq, provider="cuda") or "")
    adapter = GenaiAdapter().check(SMOLLM2, GenaiParams(**gptq), TargetInfo("local"), "cpu")
    assert "merged model" in (adapter or "")


def test_the_time_of_gptq_depends_on_its_texts() -> None:
    def seconds(**more: Any) -> float:
        params = GenaiParams(**{**INT4, **more})
        size = DataSize(examples=1000, characters=400_000)
        found = Genai().seconds_on(SMOLLM2, params, TargetInfo("local"), lambda _: size)
        assert found is not None
        return found

    plain, own = seconds(), seconds(algorithm="gptq")
    few, many = (
        seconds(algorithm="gptq", calibration={"data": "tone.train", "examples": count})
        for count in (4, 400)
    )
    assert plain == Genai().estimate(SMOLLM2, GenaiParams(**INT4), TargetInfo("local")).seconds
    assert plain < few < own < many
    assert Genai().data(GenaiParams(**INT4, algorithm="gptq")) == ()
    data = GenaiParams(**INT4, algorithm="gptq", calibration={"data": "tone.train"})
    assert Genai().data(data) == ("tone.train",)
    assert Genai().estimate(SMOLLM2, data, TargetInfo("local")).seconds is None


def test_providers() -> None:
    assert _why({"precision": "fp16"}, provider="cuda") is None
    assert _why({"precision": "bf16"}, provider="cuda") is None
    for params in ({**INT8, "shared_embeddings": True}, {**INT4, "is_symmetric": False}):
        assert "made for cpu only" in (_why(params, provider="cuda") or "")
        assert _why(params, UNTIED if params["precision"] == "int4" else SMOLLM2) is None
    assert _why({"precision": "fp16"}, provider="dml") is None
    assert "int8 does not run on provider 'dml'" in (_why(INT8, provider="dml") or "")


def test_names_of_the_builder_that_it_ignores_are_unknown() -> None:
    for name in ("int4_block_size", "int4_algo_config", "algo_config"):
        with pytest.raises(ValidationError, match="Extra inputs"):
            GenaiParams(**{**INT4, name: 32})


# Sizes that were measured on SmolLM2, in 10^6 bytes.
@pytest.mark.parametrize(
    ("params", "size_mb"),
    [
        ({}, 544),
        (INT8, 271),
        ({**INT8, "shared_embeddings": True}, 158),
        (INT4, 90),
        ({**INT4, "block_size": 128}, 84),
        ({**INT4, "algorithm": "k_quant", "is_symmetric": False}, 92),
        ({**INT4, "algorithm": "k_quant_mixed", "is_symmetric": False}, 117),
    ],
    ids=str,
)
def test_expected_size_is_near_the_measured_one(params: dict[str, Any], size_mb: float) -> None:
    guess = Genai().estimate(SMOLLM2, GenaiParams(**params), TargetInfo("local"))
    assert guess.bytes_out is not None
    assert guess.bytes_out / 1e6 == pytest.approx(size_mb, rel=0.08)
    assert guess.bytes_out / 1e6 < size_mb
