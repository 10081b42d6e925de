"""Where a budget can be spent, and what a build with one is expected to take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from paretune.core.device import TargetInfo
from paretune.core.model import ModelInfo, ModelKind
from paretune.passes.genai.adapter import GenaiAdapter
from paretune.passes.genai.genai import Genai
from paretune.passes.genai.options import GenaiParams, expected_bytes
from paretune.passes.quantization.awq_scaling import AwqScaling, AwqScalingParams
from paretune.passes.quantization.sensitivity import SensitivityParams, SensitivityPass
from paretune.testing.passes import example

PLAIN = example(ModelKind.HF)
MEASURED = SensitivityPass().predict(PLAIN, SensitivityParams())
INT4: dict[str, Any] = {"precision": "int4"}


def _why(model: ModelInfo = MEASURED, provider: str = "cpu", **params: Any) -> str:
    given = GenaiParams(**{**INT4, "budget": 0.1, **params})
    return Genai().check(model, given, TargetInfo("local"), provider) or ""


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"budget": 0},
        {"budget": 1},
        {"algorithm": "gptq"},
        {"block_size": 32, "is_symmetric": True, "algorithm": "default"},
        {"shared_embeddings": False},
        {"cost": "time"},
        {"nodes_to_exclude": ["/lm_head/MatMul"]},
    ],
    ids=str,
)
def test_what_works_is_not_refused(params: dict[str, Any]) -> None:
    assert _why(**params) == ""


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"precision": "int8"}, "budget is for precision int4"),
        ({"precision": "fp32"}, "budget has no effect with precision fp32"),
        ({"algorithm": "k_quant"}, "default or gptq, not with k_quant"),
        ({"algorithm": "rtn_last"}, "default or gptq, not with rtn_last"),
        ({"matmul_mixed_precision": "last_matmul:int8"}, "give one of them"),
        ({"block_size": 64}, "measured for {block_size: 32, is_symmetric: True}"),
        ({"budget": None, "cost": "time"}, "cost has no effect without budget"),
        ({"precision": "fp32", "budget": None, "cost": "bytes"}, "cost has no effect"),
        ({"is_symmetric": False}, "give `sensitivity: {rounded_to: next}`"),
    ],
    ids=str,
)
def test_what_has_no_effect_or_was_not_measured_is_refused(
    params: dict[str, Any], why: str
) -> None:
    assert why in _why(**params)


def test_it_needs_the_sensitivity_of_the_model_itself() -> None:
    needed = "put `sensitivity` before it"
    assert needed in _why(PLAIN)
    assert needed in _why(PLAIN, budget=0)
    assert needed in _why(replace(MEASURED, built_with={"layers": 2}))  # changed since then
    assert needed in _why(AwqScaling().predict(MEASURED, AwqScalingParams()))


def test_sensitivity_by_gptq_is_for_builds_by_gptq() -> None:
    params = SensitivityParams(rounded_to={"algorithm": "gptq"})
    by_gptq = SensitivityPass().predict(PLAIN, params)
    assert _why(by_gptq, algorithm="gptq") == ""
    assert "measured for algorithm gptq" in _why(by_gptq)
    assert _why(MEASURED, algorithm="gptq") == ""


def test_other_architectures_and_providers_are_refused() -> None:
    assert "knows no architecture 'gemma2'" in _why(replace(MEASURED, model_type="gemma2"))
    assert "for cpu only" in _why(provider="cuda")
    adapter = GenaiAdapter().check(
        MEASURED, GenaiParams(**INT4, budget=0.1), TargetInfo("local"), "cpu"
    )
    assert "`merge`, `sensitivity`, `genai`" in (adapter or "")


@pytest.mark.parametrize("budget", [-0.1, 1.1])
def test_it_is_a_share(budget: float) -> None:
    with pytest.raises(ValidationError):
        GenaiParams(**INT4, budget=budget)


def test_the_size_grows_with_it_to_that_of_8_bits() -> None:
    found = [
        expected_bytes(MEASURED, GenaiParams(**INT4, budget=budget)) or 0
        for budget in (None, 0, 0.3, 1)
    ]
    whole = expected_bytes(MEASURED, GenaiParams(precision="int8", shared_embeddings=True)) or 0
    assert found[0] == found[1] < found[2] < found[3]
    assert found[3] == pytest.approx(whole, rel=1e-3)
